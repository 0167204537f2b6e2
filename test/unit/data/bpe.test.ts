import { readFileSync } from "node:fs";
import fc from "fast-check";
import { expect, test } from "vitest";
import { trainBpe } from "../../../coordinator/data/bpe.ts";
import { loadDocuments } from "../../../coordinator/data/documents.ts";
import { naiveMerges } from "./naive-bpe.ts";

interface TokenizerJson {
  readonly added_tokens: readonly { id: number; content: string; special: boolean }[];
  readonly model: { readonly vocab: Record<string, number>; readonly merges: readonly string[] };
}

async function train(texts: readonly string[], vocabSize: number): Promise<TokenizerJson> {
  return JSON.parse((await trainBpe(texts, { vocabSize })).json) as TokenizerJson;
}

test("learns the merges that the definition gives, on real text", async () => {
  const documents = await loadDocuments({ source: "sotu", text_field: "text" });
  const texts = [0, 90, 180].map((i) => documents[i]?.text.slice(0, 6000) ?? "");
  const { model } = await train(texts, 257 + 300);
  expect(model.merges).toHaveLength(300);
  expect(model.merges).toEqual(naiveMerges(texts, 257 + 300));
});

test("learns the merges that the definition gives, on texts full of ties and runs", async () => {
  const text = fc.string({ unit: fc.constantFrom("a", "b", "c", "d", " ", "é"), maxLength: 120 });
  await fc.assert(
    fc.asyncProperty(
      fc.array(text, { minLength: 1, maxLength: 6 }),
      fc.integer({ min: 257, max: 330 }),
      async (texts, size) => {
        expect((await train(texts, size)).model.merges).toEqual(naiveMerges(texts, size));
      },
    ),
    { numRuns: 300 },
  );
});

test("gives the same bytes for the same texts in another order", async () => {
  const texts = ["the cat sat on the mat", "a dog and the cat", "mat, cat, hat; hat, cat, mat"];
  const { json } = await trainBpe(texts, { vocabSize: 300 });
  expect((await trainBpe([...texts].reverse(), { vocabSize: 300 })).json).toBe(json);
});

test("matches the golden tokenizer to the byte", async () => {
  const golden = (name: string): string =>
    readFileSync(new URL(`../../golden/tokenizer/${name}`, import.meta.url), "utf8");
  const { json, vocabSize } = await trainBpe([golden("corpus.txt")], { vocabSize: 400 });
  expect(vocabSize).toBe(400);
  expect(json).toBe(golden("tokenizer.json"));
});

test("gives bytes the first ids, end of text the last, and merges those between", async () => {
  const { model, added_tokens } = await train(["banana banana"], 259);
  expect(model.vocab["!"]).toBe(0);
  expect(model.vocab["Ġ"]).toBe(220); // GPT-2's own number for the space
  expect(model.vocab["an"]).toBe(256);
  expect(model.vocab["<|endoftext|>"]).toBe(258);
  expect(added_tokens).toMatchObject([{ id: 258, content: "<|endoftext|>", special: true }]);
  expect(new Set(Object.values(model.vocab)).size).toBe(259);
});

test("stops when no pair occurs twice, and says how many tokens there are", async () => {
  const { vocabSize, json } = await trainBpe(["xyxy"], { vocabSize: 4096 });
  expect((JSON.parse(json) as TokenizerJson).model.merges).toEqual(["x y"]);
  expect(vocabSize).toBe(258);
});

test("refuses a vocabulary that cannot hold all bytes, with both numbers", async () => {
  await expect(trainBpe(["text"], { vocabSize: 256 })).rejects.toMatchObject({
    code: "tokenizer_invalid",
    message: expect.stringMatching(/256 tokens .*257/) as string,
  });
});

test("stops at once when it is cancelled", async () => {
  const reason = new Error("enough");
  await expect(trainBpe(["text"], { vocabSize: 300, signal: AbortSignal.abort(reason) })).rejects.toBe(reason);
});

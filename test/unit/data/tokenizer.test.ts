import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import fc from "fast-check";
import { expect, onTestFinished, test } from "vitest";
import { segmentsOf, splitWords } from "../../../common/byte-level.ts";
import { createTextStream } from "../../../common/text-stream.ts";
import { loadTokenizer, parseTokenizer } from "../../../common/tokenizer.ts";
import { trainBpe } from "../../../coordinator/data/bpe.ts";
import { loadDocuments } from "../../../coordinator/data/documents.ts";

const goldenFolder = fileURLToPath(new URL("../../golden/tokenizer/", import.meta.url));
const goldenJson = readFileSync(join(goldenFolder, "tokenizer.json"), "utf8");
const tokenizer = parseTokenizer({ json: goldenJson, source: "golden" });

/** Any string without lone surrogates: text, emoji, controls, white space of all kinds. */
const unicode = fc
  .array(
    fc.oneof(
      fc.string({ unit: "binary", maxLength: 12 }),
      fc.constantFrom(" ", "\n", "\u0085", "\ufeff", "\u3000", "don't", "'ll", "\ufffd", "👩‍🚀", "<|endoftext|>", "12 "),
    ),
    { maxLength: 12 },
  )
  .map((parts) => parts.join(""));

function altered(change: (definition: Record<string, unknown> & { model: Record<string, unknown> }) => void): string {
  const definition = JSON.parse(goldenJson) as Record<string, unknown> & { model: Record<string, unknown> };
  change(definition);
  return JSON.stringify(definition);
}

/** The same tokenizer in a form that is not encoded by words: everything goes through the library whole. */
const throughLibrary = parseTokenizer({
  json: altered((definition) => {
    definition["pre_tokenizer"] = { type: "Sequence", pretokenizers: [definition["pre_tokenizer"]] };
  }),
  source: "golden, whole",
});

test("matches the golden encodings", () => {
  const golden = JSON.parse(readFileSync(join(goldenFolder, "encodings.json"), "utf8")) as {
    text: string;
    ids: number[];
  }[];
  expect(golden.length).toBeGreaterThan(3);
  for (const { text, ids } of golden) {
    expect(tokenizer.encode(text)).toEqual(ids);
    expect(tokenizer.decode(ids)).toBe(text);
  }
});

test("encodes real text to what the library gives, and decodes it to the same text", async () => {
  const documents = await loadDocuments({ source: "sotu", text_field: "text" });
  const { json } = await trainBpe([documents[40]?.text ?? ""], { vocabSize: 2000 });
  const trained = parseTokenizer({ json, source: "trained" });
  const reference = parseTokenizer({
    json: json.replace(/"pre_tokenizer": (\{[^}]*\})/, '"pre_tokenizer": {"type": "Sequence", "pretokenizers": [$1]}'),
    source: "trained, whole",
  });
  for (const i of [0, 40, 150, 232]) {
    const text = documents[i]?.text ?? "";
    const ids = trained.encode(text);
    expect(ids.length).toBeGreaterThan(1000);
    expect(ids).toEqual(reference.encode(text));
    expect(trained.decode(ids)).toBe(text);
  }
});

test("encodes any Unicode to what the library gives, and decodes it to the same text", () => {
  fc.assert(
    fc.property(unicode, (text) => {
      const ids = tokenizer.encode(text);
      expect(ids).toEqual(throughLibrary.encode(text));
      expect(tokenizer.decode(ids)).toBe(text);
    }),
    { numRuns: 500 },
  );
});

test("encodes a text of several segments to what the library gives", async () => {
  const documents = await loadDocuments({ source: "sotu", text_field: "text" });
  const text = documents
    .slice(150, 165)
    .map((document) => document.text)
    .join("\n\n");
  const segments = [...tokenizer.encodeSegments(text)];
  expect(segments.length).toBeGreaterThan(1);
  expect(segments.reduce((sum, { characters }) => sum + characters, 0)).toBe(text.length);
  expect(tokenizer.encode(text)).toEqual(throughLibrary.encode(text));
});

test("cuts text into segments whose words are the words of the whole", () => {
  fc.assert(
    fc.property(unicode, fc.integer({ min: 1, max: 9 }), (text, length) => {
      const segments = [...segmentsOf(text, length)];
      expect(segments.join("")).toBe(text);
      expect(segments.flatMap((segment) => splitWords(segment))).toEqual(splitWords(text));
    }),
    { numRuns: 1000 },
  );
  expect([...segmentsOf("one two three", 4)].length).toBeGreaterThan(1);
});

test("takes a special token's name in the text for text", () => {
  const ids = tokenizer.encode("a<|endoftext|>b");
  expect(ids).not.toContain(tokenizer.eosId);
  expect(tokenizer.decode(ids)).toBe("a<|endoftext|>b");
  expect(throughLibrary.encode("a<|endoftext|>b")).toEqual(ids);
  expect(tokenizer.decode([tokenizer.eosId])).toBe("<|endoftext|>");
});

test("keeps added tokens that are ordinary words", () => {
  const json = altered((definition) => {
    const added = definition["added_tokens"] as object[];
    definition["added_tokens"] = [...added, { id: 400, content: "[NAME]", special: false, normalized: false }];
  });
  const extended = parseTokenizer({ json, source: "extended" });
  expect(extended.vocabSize).toBe(401);
  expect(extended.encode("Dear [NAME],")).toContain(400);
});

test("decodes ids without a token to nothing, and leaves the spaces before full stops alone", () => {
  expect(tokenizer.decode([])).toBe("");
  expect(tokenizer.decode([5000, 0, 6000])).toBe("!");
  expect(tokenizer.decode(tokenizer.encode("a . b n't , c"))).toBe("a . b n't , c");
});

test("streams the same text as decoding at once, and never half a character", () => {
  fc.assert(
    fc.property(fc.array(fc.oneof(fc.nat({ max: 399 }), fc.nat({ max: 255 })), { maxLength: 40 }), (ids) => {
      const stream = createTextStream(tokenizer);
      const parts = [...ids.map((id) => stream.push(id)), stream.end()];
      expect(parts.join("")).toBe(tokenizer.decode(ids));
    }),
    { numRuns: 500 },
  );
  const astronaut = tokenizer.encode("👩‍🚀!");
  const stream = createTextStream(tokenizer);
  const parts = astronaut.map((id) => stream.push(id));
  expect(astronaut.length).toBeGreaterThan(4);
  expect(parts.join("") + stream.end()).toBe("👩‍🚀!");
  expect(parts.filter((part) => part.includes("\ufffd"))).toEqual([]);
});

test("loads a file, and a folder with its tokenizer_config.json", async () => {
  expect(await loadTokenizer(join(goldenFolder, "tokenizer.json"))).toMatchObject({ vocabSize: 400, eosId: 399 });
  const folder = mkdtempSync(join(tmpdir(), "ringtune-tokenizer-"));
  onTestFinished(() => rmSync(folder, { recursive: true }));
  writeFileSync(join(folder, "tokenizer.json"), goldenJson);
  writeFileSync(join(folder, "tokenizer_config.json"), '{"eos_token": {"content": "!"}}');
  expect(await loadTokenizer(folder)).toMatchObject({ vocabSize: 400, eosId: 0, eosToken: "!", json: goldenJson });
  await expect(loadTokenizer(join(folder, "missing"))).rejects.toMatchObject({ code: "tokenizer_invalid" });
  await expect(loadTokenizer(tmpdir())).rejects.toMatchObject({
    message: expect.stringContaining("tokenizer.json: ENOENT") as string,
  });
});

test.each<[string, string, RegExp]>([
  ["text that is not JSON", "hello", /not JSON/],
  ["JSON of another kind", "[1]", /not a JSON object/],
  ["JSON without a vocabulary", '{"hello": 1}', /no model\.vocab/],
  [
    "an id twice",
    altered(({ model }) => ((model["vocab"] as Record<string, number>)["zz"] = 7)),
    /id 7 belongs to two tokens/,
  ],
  [
    "an id that is no number",
    altered(({ model }) => ((model["vocab"] as Record<string, unknown>)["zz"] = "7")),
    /not a whole number/,
  ],
  ["a merge to nowhere", altered(({ model }) => (model["merges"] as string[]).push("zz zz")), /merge 143 makes "zzzz"/],
  ["a merge of one", altered(({ model }) => (model["merges"] as string[]).push("zz")), /merge 143 is "zz"/],
  ["no merges", altered(({ model }) => delete model["merges"]), /model\.merges is missing/],
  ["an unknown model", altered(({ model }) => (model["type"] = "Magic")), /model\.type is "Magic"/],
  [
    "a missing byte",
    altered(({ model }) => {
      model["merges"] = [];
      delete (model["vocab"] as Record<string, number>)["é"];
    }),
    /255 of the 256 bytes/,
  ],
  [
    "no end of text",
    altered((definition) => {
      definition["added_tokens"] = [];
      delete (definition.model["vocab"] as Record<string, number>)["<|endoftext|>"];
    }),
    /no end-of-text token/,
  ],
])("refuses %s", (_, json, message) => {
  expect(() => parseTokenizer({ json, source: "given" })).toThrow(message);
  expect(() => parseTokenizer({ json, source: "given" })).toThrow(
    expect.objectContaining({ code: "tokenizer_invalid" }),
  );
});

test("refuses an eos_token that has no id", () => {
  expect(() => parseTokenizer({ json: goldenJson, configJson: '{"eos_token": "</s>"}', source: "given" })).toThrow(
    /"<\/s>"/,
  );
});

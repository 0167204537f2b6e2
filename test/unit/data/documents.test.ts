import { mkdirSync, mkdtempSync, symlinkSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import fc from "fast-check";
import { beforeEach, expect, test } from "vitest";
import { digestOf } from "../../../coordinator/data/document.ts";
import { loadDocuments } from "../../../coordinator/data/documents.ts";
import { firstInvalidByte } from "../../../coordinator/data/utf8.ts";

let folder: string;
let notices: string[];
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), "ringtune-documents-"));
  notices = [];
});

function put(name: string, content: string | readonly number[]): string {
  const path = join(folder, name);
  mkdirSync(dirname(path), { recursive: true });
  writeFileSync(path, typeof content === "string" ? content : Buffer.from(content));
  return path;
}

const load = (...source: string[]) =>
  loadDocuments({ source, text_field: "text" }, { onNotice: (line) => notices.push(line) });

async function refusal(...source: string[]): Promise<string> {
  const error: unknown = await load(...source).catch((reason: unknown) => reason);
  expect(error).toMatchObject({ code: "data_invalid" });
  return (error as Error).message.replaceAll(folder, "DIR");
}

test("reads the 233 State of the Union addresses in the order of their years", async () => {
  const documents = await load("sotu");
  expect(documents).toHaveLength(233);
  expect(documents[0]).toMatchObject({ id: "1790_george_washington_n", source: "sotu" });
  expect(documents[232]?.id).toBe("2021_joseph_r_biden_d");
  expect(documents[0]?.text.startsWith("Fellow-Citizens of the Senate")).toBe(true);
  expect(documents.filter(({ text }) => text.endsWith("\n"))).toEqual([]);
  expect(documents.reduce((sum, { text }) => sum + text.length, 0)).toBeGreaterThan(10_700_000);
});

test("takes the addresses of some years only", async () => {
  const load = (...years: number[]) => loadDocuments({ source: "sotu", text_field: "text", years });
  const early = await load(1790, 1900);
  const late = await load(1901, 2021);
  expect(early.at(-1)?.id).toMatch(/^1900_/);
  expect(late[0]?.id).toMatch(/^1901_/);
  expect(early.length + late.length).toBe(233);
  expect((await load(1865, 1865)).map(({ id }) => id)).toEqual(["1865_andrew_johnson_nu"]);
  await expect(load(1933, 1933)).rejects.toThrow("sotu: there is no address of 1933 to 1933; data.years");
});

test("reads text files, JSONL files and folders of them, sorted, and says what it left out", async () => {
  put("b/second.TXT", "two");
  put("b/a/first.md", "# one");
  put("b/z.jsonl", '{"text": "three", "more": 1}\n\n{"text": "four"}');
  put("b/picture.png", [0x89, 0]);
  put("b/empty.txt", "");
  put("b/.hidden.txt", "no");
  const single = put("single.txt", "zero");
  const documents = await load(single, join(folder, "b"), single);
  expect(documents.map(({ text }) => text)).toEqual(["zero", "# one", "two", "three", "four"]);
  expect(documents.at(-1)).toMatchObject({ id: join(folder, "b/z.jsonl:3"), source: join(folder, "b/z.jsonl") });
  const said = notices.join("\n").replaceAll(folder, "DIR");
  expect(said).toContain("DIR/b: 1 files left out that are not .txt, .md or .jsonl (DIR/b/picture.png)");
  expect(said).toContain("DIR/b/empty.txt: left out: it holds no text");
  expect(said).toContain("DIR/single.txt: named before, read once");
});

test("follows links once, also in a circle", async () => {
  put("real/a.txt", "text");
  symlinkSync(folder, join(folder, "real", "up"));
  expect(await load(folder)).toHaveLength(1);
});

test("drops the byte order mark and turns CRLF into LF, in text and in JSONL", async () => {
  const text = put("mark.txt", "\ufeffone\r\ntwo\rthree\r\n");
  const lines = put("mark.jsonl", '\ufeff{"text": "four\\r\\nfive"}\r\n\r\n{"text": "six"}\r\n');
  const documents = await load(text, lines);
  expect(documents.map((document) => document.text)).toEqual(["one\ntwo\rthree\n", "four\nfive", "six"]);
});

test("reads JSONL lines longer than a chunk of the stream", async () => {
  const texts = ["é".repeat(1_500_000), "short", "x".repeat(2_000_000)];
  const path = put("long.jsonl", texts.map((text) => JSON.stringify({ text })).join("\n"));
  expect((await load(path)).map(({ text }) => text.length)).toEqual(texts.map((text) => text.length));
});

test("names another text field", async () => {
  const path = put("a.jsonl", '{"body": "text"}\n{"body": "  "}');
  const documents = await loadDocuments(
    { source: path, text_field: "body" },
    { onNotice: (line) => notices.push(line) },
  );
  expect(documents.map(({ text }) => text)).toEqual(["text"]);
  expect(notices[0]).toMatch(/1 of 2 documents left out: their "body" is empty/);
});

test("refuses a path that is not there", async () => {
  expect(await refusal(join(folder, "none.txt"))).toMatch(
    /^DIR\/none.txt: there is no such file or folder; data\.source/,
  );
});

test("refuses empty files and files of blanks, with their size", async () => {
  expect(await refusal(put("empty.txt", ""))).toMatch(/DIR\/empty.txt: the file is empty \(0 bytes\)/);
  expect(await refusal(put("blank.md", " \n\t\r\n"))).toMatch(/holds 5 bytes but no text/);
  expect(await refusal(put("empty.jsonl", "\n\n"))).toMatch(/holds 2 bytes but no text/);
});

test("refuses binary files, with the offset of the byte", async () => {
  expect(await refusal(put("nul.txt", [0x61, 0x62, 0x00]))).toMatch(/DIR\/nul.txt: binary, not text: byte 2 is 0x00/);
  expect(await refusal(put("latin.txt", [0x61, 0xc3, 0xa9, 0xe9, 0x20]))).toMatch(/not UTF-8: byte 3 is 0xE9/);
  expect(await refusal(put("wide.txt", [0xff, 0xfe, 0x61, 0x00]))).toMatch(/UTF-16/);
  put("in/cut.txt", [0x61, 0xe2, 0x82]);
  expect(await refusal(join(folder, "in"))).toMatch(/DIR\/in\/cut.txt: not UTF-8: byte 1 is 0xE2/);
});

test("refuses binary JSONL lines, with the line and the offset in the file", async () => {
  const path = put("a.jsonl", [...Buffer.from('{"text": "ok"}\n{"text": "'), 0xff, 0x22, 0x7d]);
  expect(await refusal(path)).toMatch(/DIR\/a.jsonl:2: not UTF-8: byte 25 is 0xFF/);
});

test("names the first five bad JSONL lines and counts all of them", async () => {
  const lines = [
    '{"text": "fine"}',
    "{oops",
    '{"body": 1, "id": 2}',
    '{"text": 7}',
    "[1]",
    '{"text": null}',
    "null",
    '"x"',
  ];
  const message = await refusal(put("bad.jsonl", lines.join("\n")));
  expect(message).toMatch(/DIR\/bad.jsonl: 7 of 8 lines cannot be used/);
  expect(message).toMatch(/line 2: not JSON: /);
  expect(message).toMatch(/line 3: no field "text"; it has "body", "id"\n/);
  expect(message).toMatch(/line 4: "text" is a number instead of a string\n/);
  expect(message).toMatch(/line 5: a list instead of an object\n/);
  expect(message).toMatch(/line 6: "text" is null instead of a string\n {2}and 2 more$/);
});

test("refuses unknown kinds of file and folders without documents", async () => {
  expect(await refusal(put("table.csv", "a,b"))).toMatch(/files of kind ".csv" are not known; name it .txt/);
  expect(await refusal(folder)).toMatch(/DIR: no documents: 0 .txt, .md or .jsonl files/);
  expect(notices.join()).toContain("1 files left out");
});

test("stops when it is cancelled", async () => {
  const reason = new Error("enough");
  const signal = AbortSignal.abort(reason);
  await expect(loadDocuments({ source: put("a.txt", "a"), text_field: "text" }, { signal })).rejects.toBe(reason);
  await expect(loadDocuments({ source: "sotu", text_field: "text" }, { signal })).rejects.toBe(reason);
});

test("digests texts and their order, not their names", async () => {
  const [one, two, copy] = [put("one.txt", "ab"), put("two.txt", "c"), put("copy.txt", "ab")];
  const digest = async (...paths: string[]) => digestOf(await load(...paths));
  expect(await digest(one, two)).toBe(await digest(copy, two));
  expect(await digest(one, two)).not.toBe(await digest(two, one));
  expect(await digest(one, two)).not.toBe(await digest(put("three.txt", "a"), put("four.txt", "bc")));
});

test("finds the byte at which UTF-8 ends where the decoder of Node finds it", () => {
  const bytes = fc.array(
    fc.oneof(fc.constantFrom(0x41, 0xc3, 0xa9, 0xe2, 0x82, 0xed, 0xf0, 0x9f), fc.nat({ max: 255 })),
  );
  fc.assert(
    fc.property(bytes, (values) => {
      const at = firstInvalidByte(Uint8Array.from(values));
      const decode = (end: number) =>
        new TextDecoder("utf-8", { fatal: true }).decode(Uint8Array.from(values.slice(0, end)));
      expect(() => decode(at)).not.toThrow();
      // No longer prefix is valid either.
      for (let end = at + 1; end <= values.length; end++) expect(() => decode(end)).toThrow();
    }),
    { numRuns: 2000 },
  );
});

import { mkdtempSync, readdirSync, readFileSync, truncateSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { beforeEach, expect, test } from "vitest";
import { type CacheEntry, createCache } from "../../../coordinator/data/cache.ts";

let folder: string;
let notices: string[];
const entry: CacheEntry = {
  facts: { characters: 12 },
  sections: { train: new Uint8Array([1, 2, 3]), validation: new Uint8Array(70_000).fill(7) },
};
const cacheIn = (path: string) => createCache(path, (line) => notices.push(line));

beforeEach(() => {
  folder = join(mkdtempSync(join(tmpdir(), "ringtune-cache-")), "deep", "cache");
  notices = [];
});

test("gives back what was written, under the same kind and parts only", async () => {
  const cache = cacheIn(folder);
  expect(await cache.read("tokens", ["a", 1])).toBeUndefined();
  await cache.write("tokens", ["a", 1], entry);
  expect(await cache.read("tokens", ["a", 1])).toEqual(entry);
  for (const [kind, parts] of [
    ["tokens", ["a", 2]],
    ["tokens", ["a1"]],
    ["tokenizer", ["a", 1]],
  ] as const) {
    expect(await cache.read(kind, parts)).toBeUndefined();
  }
  expect(notices).toEqual([]);
});

test("notices every changed byte and every lost one", async () => {
  const cache = cacheIn(folder);
  await cache.write("tokens", ["a"], entry);
  const path = join(folder, readdirSync(folder)[0] ?? "");
  const whole = readFileSync(path);
  const places = [
    0,
    5,
    17,
    25,
    60,
    whole.indexOf("\n"),
    whole.indexOf("\n") + 1,
    150,
    whole.length - 70_002,
    whole.length - 1,
  ];
  for (const at of places) {
    const broken = Buffer.from(whole);
    broken[at] = (broken[at] ?? 0) ^ 1;
    writeFileSync(path, broken);
    expect(await cache.read("tokens", ["a"]), `byte ${at}`).toBeUndefined();
  }
  expect(notices).toHaveLength(places.length);
  expect(notices.at(-1)).toMatch(/is damaged \(the checksum of its validation is wrong\); it is made again/);
  for (const length of [0, 10, 90, 200, whole.length - 1]) {
    writeFileSync(path, whole);
    truncateSync(path, length);
    expect(await cache.read("tokens", ["a"]), `${length} bytes`).toBeUndefined();
  }
  expect(notices.at(-1)).toMatch(/it has \d+ bytes instead of \d+/);
  await cache.write("tokens", ["a"], entry);
  expect(await cache.read("tokens", ["a"])).toEqual(entry);
});

test("survives a folder that cannot be written, with a notice", async () => {
  const file = join(mkdtempSync(join(tmpdir(), "ringtune-cache-")), "file");
  writeFileSync(file, "in the way");
  const cache = cacheIn(join(file, "cache"));
  await cache.write("tokens", ["a"], entry);
  expect(await cache.read("tokens", ["a"])).toBeUndefined();
  expect(notices).toEqual([expect.stringMatching(/cache: nothing kept in .*file\/cache .*next start takes as long/)]);
});

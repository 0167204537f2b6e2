import { chmod, mkdtemp, readdir, readFile, rm, stat, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, expect, test } from "vitest";
import { openJoinTokens } from "../../../coordinator/store/join-tokens.ts";

let folder: string;
let now = 0;
const open = (ttlSeconds = 3600) =>
  openJoinTokens({ file: (name) => join(folder, name), ttlSeconds, nowMs: () => now });
const ownToken = async (): Promise<string> => (await readFile(join(folder, "join-token"), "utf8")).trim();

beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), "ringtune-tokens-"));
  now = Date.parse("2026-03-01T00:00:00Z");
});
afterEach(() => rm(folder, { recursive: true }));

test("a token lets in until it expires, another never did", async () => {
  const tokens = await open();
  const { token, expiresMs } = await tokens.issue(60);
  expect(expiresMs).toBe(now + 60_000);
  expect(tokens.judge(token)).toEqual({ kind: "valid" });
  for (const wrong of ["", `${token}x`, token.slice(1), token.toUpperCase()]) {
    expect(tokens.judge(wrong)).toEqual({ kind: "unknown" });
  }
  now += 60_000;
  expect(tokens.judge(token)).toEqual({ kind: "expired", expiresMs, nowMs: now });
  expect(tokens.judge(await ownToken())).toEqual({ kind: "valid" });
});

test("the coordinator keeps hashes only, and its owner alone can read the files", async () => {
  const tokens = await open();
  const secrets = [await ownToken(), (await tokens.issue(60)).token, tokens.issueOwn()];
  const list = await readFile(join(folder, "join-tokens.json"), "utf8");
  for (const secret of secrets) expect(list).not.toContain(secret);
  expect(JSON.parse(list)).toMatchObject({ tokens: [{ expires: "2026-03-01T00:01:00.000Z" }, {}] });
  for (const name of await readdir(folder)) expect((await stat(join(folder, name))).mode & 0o777, name).toBe(0o600);
});

test("the coordinator that takes over takes the same tokens, but those that ended with the other process", async () => {
  const before = await open();
  const [file, other, own] = [await ownToken(), (await before.issue(60)).token, before.issueOwn()];
  expect(before.judge(own)).toEqual({ kind: "valid" });
  const after = await open();
  expect(await ownToken()).toBe(file);
  expect([file, other, own].map((token) => after.judge(token).kind)).toEqual(["valid", "valid", "unknown"]);
  // Half of the time is over: newcomers get another, and the old one still lets in.
  now += 1801_000;
  const later = await open();
  expect(await ownToken()).not.toBe(file);
  expect(later.judge(file)).toEqual({ kind: "valid" });
  expect(later.judge(other)).toMatchObject({ kind: "expired" });
});

test("when the run is over no token is left, and of very many the first to end are forgotten", async () => {
  const tokens = await open();
  const issued = await Promise.all(Array.from({ length: 1001 }, (_, i) => tokens.issue(i + 1)));
  expect(issued.filter(({ token }) => tokens.judge(token).kind === "valid")).toHaveLength(999);
  await tokens.discard();
  expect(await readdir(folder)).toEqual([]);
});

test("a list that can't be read is named, not taken for an empty one", async () => {
  await writeFile(join(folder, "join-tokens.json"), '{"tokens": [{"sha256": "5f"}]}');
  await expect(open()).rejects.toMatchObject({ code: "run_missing" });
  await chmod(join(folder, "join-tokens.json"), 0o600);
});

// The embedded store on a disk that a crash or a flipped bit has been at.

import { appendFile, mkdtemp, readdir, readFile, rm, truncate, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { expect, onTestFinished, test } from "vitest";
import { inspectLog } from "../../../coordinator/durable/level-log.ts";
import { openLevelMedium } from "../../../coordinator/durable/level.ts";
import { createDurableStore, type Facts } from "../../../coordinator/durable/store.ts";

/** A database whose newest log holds `entries` writes, of a process that did not close it. */
async function crashedDatabase(entries: number, padding = ""): Promise<{ folder: string; log: string }> {
  const folder = await mkdtemp(join(tmpdir(), "ringtune-test-"));
  onTestFinished(() => rm(folder, { recursive: true, force: true }));
  const medium = await openLevelMedium(folder);
  const store = createDurableStore(medium);
  await store.load();
  for (let n = 1; n <= entries; n++) await store.append({ committed: n, padding });
  await store.close();
  const [name] = (await readdir(folder)).filter((file) => file.endsWith(".log"));
  return { folder, log: join(folder, name!) };
}

async function open(folder: string, notices: string[] = []): Promise<Facts | undefined> {
  const medium = await openLevelMedium(folder, (sentence) => notices.push(sentence));
  try {
    return await createDurableStore(medium).load();
  } finally {
    await medium.close();
  }
}

test.each([1, 20, 60])("drops the last entry when %i of its bytes are missing, and says so", async (missing) => {
  const { folder, log } = await crashedDatabase(5);
  await truncate(log, (await readFile(log)).length - missing);
  const notices: string[] = [];
  expect(await open(folder, notices)).toEqual({ committed: 4, padding: "" });
  expect(notices).toEqual([expect.stringMatching(/ended in a write that was cut off, \d+ bytes after 4 whole ones/)]);
});

test("drops zeros that a power cut left behind the last entry", async () => {
  const { folder, log } = await crashedDatabase(5);
  await appendFile(log, Buffer.alloc(4096));
  const notices: string[] = [];
  expect(await open(folder, notices)).toEqual({ committed: 5, padding: "" });
  expect(notices.join()).toContain("4096 bytes after 5 whole ones");
});

test("reads entries that go over blocks of 32 KiB, whole or torn", async () => {
  const padding = "x".repeat(20_000);
  const { folder, log } = await crashedDatabase(8, padding);
  expect(await inspectLog(folder)).toMatchObject({ whole: 8, tornBytes: 0, damagedAt: undefined });
  await truncate(log, (await readFile(log)).length - 15_000);
  expect(await open(folder)).toEqual({ committed: 7, padding });
});

test.each(["", "x".repeat(20_000)])("refuses a flipped bit that whole entries follow", async (padding) => {
  const { folder, log } = await crashedDatabase(6, padding);
  const bytes = await readFile(log);
  const middle = Math.floor(bytes.length / 2);
  bytes[middle]! ^= 1;
  await writeFile(log, bytes);
  await expect(open(folder)).rejects.toMatchObject({
    code: "checkpoint_invalid",
    message: expect.stringMatching(
      /\.log is damaged at byte \d+, and 5 writes in it are whole, the last one after that byte$/,
    ) as string,
  });
});

test("keeps a second process out of a database that is open", async () => {
  const { folder } = await crashedDatabase(1);
  const medium = await openLevelMedium(folder);
  await expect(openLevelMedium(folder)).rejects.toMatchObject({ code: "run_exists" });
  await medium.close();
});

test("names the folder when it is none", async () => {
  const { folder } = await crashedDatabase(1);
  await writeFile(join(folder, "file"), "");
  await expect(openLevelMedium(join(folder, "file"))).rejects.toMatchObject({
    code: "disk_failed",
    message: expect.stringContaining(join(folder, "file")) as string,
  });
});

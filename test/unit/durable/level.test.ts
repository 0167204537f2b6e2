// The embedded store on a disk that a crash or a flipped bit has been at.

import { appendFile, mkdtemp, readdir, readFile, rm, truncate, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { expect, onTestFinished, test } from "vitest";
import { inspectLog } from "../../../coordinator/durable/level-log.ts";
import { openLevelMedium } from "../../../coordinator/durable/level.ts";
import { createDurableStore, type Facts } from "../../../coordinator/durable/store.ts";
import { fill, smallDisk } from "../../support/small-disk.ts";

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

/** Fills the disk and appends until an entry waits for room; resolves with its number and what makes some. */
async function appendUntilFull(disk: string, notices: string[], withinMs?: number) {
  const medium = await openLevelMedium(join(disk, "durable"), (sentence) => notices.push(sentence), withinMs);
  const store = createDurableStore(medium);
  await store.load();
  for (let entry = 1; entry <= 10; entry++) await store.append({ committed: entry, padding: "x".repeat(1000) });
  const free = await fill(disk);
  for (let entry = 11; ; entry++) {
    const written = store.append({ committed: entry, padding: "x".repeat(1000) });
    written.catch(() => undefined);
    await expect.poll(async () => notices.length > 0 || (await settles(written))).toBe(true);
    if (notices.length > 0) return { store, entry, written, free };
  }
}

async function settles(promise: Promise<unknown>): Promise<boolean> {
  const pending = Symbol("pending");
  return (await Promise.race([promise.catch(() => undefined), Promise.resolve(pending)])) !== pending;
}

test("on a full disk a write waits for room, nothing before it is lost, and it goes on", async ({ skip }) => {
  const disk = await smallDisk(256);
  if (disk === undefined) return skip("no file system can be mounted here");
  const folder = join(disk, "durable");
  const notices: string[] = [];
  const { store, entry, written, free } = await appendUntilFull(disk, notices);
  expect(notices).toEqual([`${folder}: the disk is full; the run waits for room, 60 s at most`]);
  await free();
  await written;
  expect(notices[1]).toMatch(/durable has room again, after \d+(\.\d)? s: the run goes on$/);
  await store.append({ committed: entry + 1 });
  await store.close();
  const found: string[] = [];
  expect(await open(folder, found)).toEqual({ committed: entry + 1, padding: "x".repeat(1000) });
  expect(found).toEqual([]);
});

test("a disk that stays full fails the write with the cause, and all before it is there afterwards", async ({
  skip,
}) => {
  const disk = await smallDisk(256);
  if (disk === undefined) return skip("no file system can be mounted here");
  const folder = join(disk, "durable");
  const { store, entry, written, free } = await appendUntilFull(disk, [], 100);
  const error = {
    code: "disk_failed",
    message: `can't keep the state of the run in ${folder}: the disk is full; make room, and go on with the run by --resume`,
  };
  await expect(written).rejects.toMatchObject(error);
  await expect(store.append({ committed: entry + 1 })).rejects.toMatchObject(error);
  await store.close();
  await free();
  expect(await open(folder)).toMatchObject({ committed: entry - 1 });
});

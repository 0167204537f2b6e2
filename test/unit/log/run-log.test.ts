import { appendFile, mkdir, readFile, rm, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { expect, test } from "vitest";
import { formatLine, type LogLine } from "../../../common/log-line.ts";
import { readLog } from "../../../coordinator/log/read-log.ts";
import { openRunLog } from "../../../coordinator/log/run-log.ts";
import { temporaryFolder } from "../../support/cli.ts";

async function logIn(folder: string) {
  const log = openRunLog({ job: "run1", pathOf: (name) => join(folder, name) });
  log.locate(() => ({ generation: 3, step: 41, rankOf: (worker) => (worker === "w1" ? 1 : undefined) }));
  return log;
}

async function linesOf(folder: string): Promise<LogLine[]> {
  const lines: LogLine[] = [];
  for await (const line of readLog(folder, undefined)) lines.push(line);
  return lines;
}

test("every line says when, where in the run, and whom it is about", async () => {
  const folder = await temporaryFolder();
  const log = await logIn(folder);
  log.observe({ kind: "joined", id: "w1", host: "node1" });
  log.observe({ kind: "left", id: "w2", expected: false });
  log.write("generation 2 -> 3 with 2 workers");
  await log.close();
  const lines = await linesOf(folder);
  expect(lines.map(({ time: _, ...line }) => line)).toEqual([
    { level: "info", job: "run1", generation: 3, step: 41, worker: "w1", rank: 1, message: "joined" },
    { level: "warn", job: "run1", generation: 3, step: 41, worker: "w2", message: "its session ended" },
    { level: "info", job: "run1", generation: 3, step: 41, message: "generation 2 -> 3 with 2 workers" },
  ]);
  expect(formatLine({ ...lines[1]!, time: "2026-11-23T04:12:33.000Z" })).toBe(
    "04:12:33  generation 3, step 41  w2  warn: its session ended",
  );
});

test("heartbeats and votes are no lines", async () => {
  const folder = await temporaryFolder();
  const log = await logIn(folder);
  const message = { kind: "heartbeat", value: { doing: "computing", inCollective: false, count: 1 } } as const;
  log.observe({ kind: "said", id: "w1", message });
  log.write("one");
  await log.close();
  expect((await linesOf(folder)).map((line) => line.message)).toEqual(["one"]);
});

test("lines that the disk refuses are written when it takes them again", async () => {
  const folder = await temporaryFolder();
  const run = join(folder, "run");
  await mkdir(run);
  const log = await logIn(run);
  await rm(run, { recursive: true });
  log.write("one");
  await log.close();
  await mkdir(run);
  log.write("two");
  await log.close();
  expect((await linesOf(run)).map(({ message }) => message)).toEqual(["one", "two"]);
});

test("a torn line and a line of something else are left out when the log is read", async () => {
  const folder = await temporaryFolder();
  const log = await logIn(folder);
  log.write("one");
  await log.close();
  const path = join(folder, "log.jsonl");
  await appendFile(path, '{"kind":"step"}\n{"time":"2026-');
  expect((await linesOf(folder)).map(({ message }) => message)).toEqual(["one"]);
});

test("a log that has grown large is put aside, and read before the new one", async () => {
  const folder = await temporaryFolder();
  const line = { time: "t", level: "info", job: "run1", generation: 0, step: 0, message: "old" };
  const filler = " ".repeat(17 * 1024 * 1024);
  await writeFile(join(folder, "log.jsonl"), `${JSON.stringify(line)}\n${filler}\n`);
  const log = await logIn(folder);
  log.write("new");
  await log.close();
  expect((await linesOf(folder)).map(({ message }) => message)).toEqual(["old", "new"]);
  expect((await readFile(join(folder, "log.jsonl"), "utf8")).length).toBeLessThan(1000);
});

test("whoever follows gets what is written later, and an end", async () => {
  const folder = await temporaryFolder();
  const log = await logIn(folder);
  log.write("one");
  await log.close();
  const stop = new AbortController();
  const seen: string[] = [];
  for await (const { message } of readLog(folder, stop.signal)) {
    seen.push(message);
    if (message === "two") stop.abort();
    else log.write("two");
  }
  expect(seen).toEqual(["one", "two"]);
});

test("a run without a log is named", async () => {
  const folder = await temporaryFolder();
  await expect(linesOf(folder)).rejects.toThrow(/log\.jsonl does not exist; has this run begun\?/);
});

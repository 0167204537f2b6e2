import { mkdir, open, readFile, stat, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { expect, onTestFinished, test } from "vitest";
import type { RunRecord } from "../../../common/records.ts";
import { keptRecords, recordFact, RECORDS_KEPT } from "../../../coordinator/durable/recorded.ts";
import { completeRecordLog } from "../../../coordinator/store/record-log.ts";
import { temporaryFolder } from "../../support/cli.ts";

const record = (step: number, kind: "step" | "validation" = "step"): RunRecord =>
  ({ kind, step, loss: 1 / step }) as unknown as RunRecord;

test("the last records are kept in their order, in places that are used again", () => {
  const facts: Record<string, unknown> = {};
  for (let number = 1; number <= RECORDS_KEPT + 3; number++) Object.assign(facts, recordFact(number, record(number)));
  const kept = keptRecords(facts as Parameters<typeof keptRecords>[0]);
  expect(kept.map(({ step }) => step)).toEqual(Array.from({ length: RECORDS_KEPT }, (_, i) => i + 4));
});

test.each([
  ["in place", false],
  ["in another file", true],
])("records that a crash kept from the file are added once, %s, after a torn line is cut off", async (_, anew) => {
  const folder = await temporaryFolder();
  await mkdir(folder, { recursive: true });
  const path = join(folder, "metrics.jsonl");
  const line = (each: RunRecord): string => `${JSON.stringify(each)}\n`;
  await writeFile(path, line(record(1)) + line(record(2)) + line(record(3)).slice(0, 9));
  const inode = (await stat(path)).ino;
  const old = await open(path, "a");
  onTestFinished(() => old.close());
  const kept = [record(2), record(2, "validation"), record(3)];
  const whole = [record(1), record(2), record(2, "validation"), record(3)].map(line).join("");
  for (let again = 0; again < 2; again++) {
    await completeRecordLog(path, kept, anew);
    expect(await readFile(path, "utf8")).toBe(whole);
  }
  expect((await stat(path)).ino === inode).toBe(!anew);
});

test.each([false, true])("of a long file only the end is read, however long its lines are", async (anew) => {
  const path = join(await temporaryFolder(), "metrics.jsonl");
  const long = (step: number): RunRecord =>
    Object.assign({ note: "é".repeat(step > 4995 ? 100_000 : 400) }, record(step));
  const lines = Array.from({ length: 5000 }, (_, i) => `${JSON.stringify(long(i + 1))}\n`);
  // Whoever read it all would stumble here.
  await writeFile(path, ["?\n", ...lines.slice(0, -1), lines[4999]!.slice(0, 150_000)].join(""));
  const kept = Array.from({ length: RECORDS_KEPT }, (_, i) => long(5001 - RECORDS_KEPT + i));
  await completeRecordLog(path, kept, anew);
  expect(await readFile(path, "utf8")).toBe(["?\n", ...lines].join(""));
});

test("a damaged line at the end is named with its number", async () => {
  const path = join(await temporaryFolder(), "metrics.jsonl");
  await writeFile(path, `${JSON.stringify(record(1))}\n?\n${JSON.stringify(record(2))}\n`);
  await expect(completeRecordLog(path, [record(2)])).rejects.toThrow(/metrics\.jsonl:2 is not a record of a run/);
});

test("a file that is not there is made of the records that were kept", async () => {
  const path = join(await temporaryFolder(), "metrics.jsonl");
  await completeRecordLog(path, []);
  await expect(stat(path)).rejects.toMatchObject({ code: "ENOENT" });
  await completeRecordLog(path, [record(1)]);
  expect(await readFile(path, "utf8")).toBe(`${JSON.stringify(record(1))}\n`);
});

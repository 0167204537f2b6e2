import { mkdir, readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { expect, test } from "vitest";
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

test("records that a crash kept from the file are added once, after a torn line is cut off", async () => {
  const folder = await temporaryFolder();
  await mkdir(folder, { recursive: true });
  const path = join(folder, "metrics.jsonl");
  const line = (each: RunRecord): string => `${JSON.stringify(each)}\n`;
  await writeFile(path, line(record(1)) + line(record(2)) + line(record(3)).slice(0, 9));
  const kept = [record(2), record(2, "validation"), record(3)];
  const whole = [record(1), record(2), record(2, "validation"), record(3)].map(line).join("");
  for (let again = 0; again < 2; again++) {
    await completeRecordLog(path, kept);
    expect(await readFile(path, "utf8")).toBe(whole);
  }
});

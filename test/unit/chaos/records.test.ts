import { appendFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { expect, onTestFinished, test } from "vitest";
import { writeFileAtomic } from "../../../common/atomic-file.ts";
import { followRecords } from "../../../coordinator/chaos/records.ts";
import { temporaryFolder } from "../../support/cli.ts";

const line = (step: number, loss = 1): string => `${JSON.stringify({ kind: "step", step, loss })}\n`;

async function following() {
  const path = join(await temporaryFolder(), "metrics.jsonl");
  const records = followRecords(path);
  onTestFinished(() => records.close());
  const until = (step: number) => records.when((record) => record.step === step, new AbortController().signal);
  return { path, records, until };
}

test("follows a file that is not there yet, and waits for whole lines", async () => {
  const { path, records, until } = await following();
  const third = until(3);
  await writeFile(path, line(1) + line(2).slice(0, 9));
  await until(1);
  expect(records.last?.step).toBe(1);
  await appendFile(path, line(2).slice(9) + line(3));
  expect((await third).step).toBe(3);
  expect(records.steps.map(({ step }) => step)).toEqual([1, 2, 3]);
});

test("a record that is there already is found at once, and a wait ends with the signal's reason", async () => {
  const { path, records, until } = await following();
  await writeFile(path, line(1));
  await until(1);
  expect(await records.when(() => true, new AbortController().signal)).toMatchObject({ step: 1 });
  await expect(records.when(() => false, AbortSignal.abort(new Error("enough")))).rejects.toThrow("enough");
});

test("a file that was cut and written on counts the steps that came again with other contents", async () => {
  const { path, records, until } = await following();
  await writeFile(path, line(1) + line(2) + line(3));
  await until(3);
  await writeFileAtomic(path, line(1) + line(2));
  await appendFile(path, line(3));
  await appendFile(path, line(4));
  await until(4);
  expect(records.repeated).toEqual([]);
  await writeFileAtomic(path, line(1) + line(2));
  await appendFile(path, line(3, 7) + line(4) + line(5));
  await until(5);
  expect(records.repeated).toEqual([3]);
});

import { mkdir, mkdtemp, readdir, readlink, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { expect, onTestFinished, test } from "vitest";
import { checkpointName, publishCheckpoint } from "../../../coordinator/store/checkpoints.ts";

async function runWith(steps: readonly number[]): Promise<string> {
  const run = await mkdtemp(join(tmpdir(), "ringtune-retention-"));
  onTestFinished(() => rm(run, { recursive: true, force: true }));
  for (const step of steps) {
    const folder = join(run, "checkpoints", checkpointName(step));
    await mkdir(folder, { recursive: true });
    await writeFile(join(folder, "state.json"), JSON.stringify({ step, position: step }));
  }
  return run;
}

test("the best checkpoint stays beside the newest, and best points to it", async () => {
  const run = await runWith([5, 10, 15, 20]);
  await publishCheckpoint(run, 10, 1, 5);
  expect(await readdir(join(run, "checkpoints"))).toEqual([5, 10, 15, 20].map(checkpointName));
  await publishCheckpoint(run, 15, 1, 5);
  expect(await readdir(join(run, "checkpoints"))).toEqual([5, 15, 20].map(checkpointName));
  expect(await readlink(join(run, "best"))).toBe(`checkpoints/${checkpointName(5)}`);
  await publishCheckpoint(run, 20, 1, 20);
  expect(await readdir(join(run, "checkpoints"))).toEqual([checkpointName(20)]);
  expect(await readlink(join(run, "best"))).toBe(`checkpoints/${checkpointName(20)}`);
});

test("best never points to what is gone, nor stays when nobody looks for it any more", async () => {
  const run = await runWith([5, 10, 15]);
  await publishCheckpoint(run, 5, 2, 5);
  await publishCheckpoint(run, 10, 2, 3);
  await expect(readlink(join(run, "best"))).rejects.toThrow("ENOENT");
  await publishCheckpoint(run, 10, 2, 5);
  await publishCheckpoint(run, 15, 2);
  await expect(readlink(join(run, "best"))).rejects.toThrow("ENOENT");
});

test("a checkpoint that is written but not published yet neither goes nor counts", async () => {
  const run = await runWith([5, 10, 15, 20, 25]);
  await publishCheckpoint(run, 15, 2);
  expect(await readdir(join(run, "checkpoints"))).toEqual([10, 15, 20, 25].map(checkpointName));
  await publishCheckpoint(run, 20, 2);
  expect(await readdir(join(run, "checkpoints"))).toEqual([15, 20, 25].map(checkpointName));
});

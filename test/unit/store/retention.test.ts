import { mkdir, mkdtemp, readdir, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { expect, onTestFinished, test } from "vitest";
import { checkpointName, publishCheckpoint } from "../../../coordinator/store/checkpoints.ts";

test("a checkpoint that is written but not published yet neither goes nor counts", async () => {
  const run = await mkdtemp(join(tmpdir(), "ringtune-retention-"));
  onTestFinished(() => rm(run, { recursive: true, force: true }));
  for (const step of [5, 10, 15, 20, 25]) {
    const folder = join(run, "checkpoints", checkpointName(step));
    await mkdir(folder, { recursive: true });
    await writeFile(join(folder, "state.json"), JSON.stringify({ step, position: step }));
  }
  await publishCheckpoint(run, 15, 2);
  expect(await readdir(join(run, "checkpoints"))).toEqual([10, 15, 20, 25].map(checkpointName));
  await publishCheckpoint(run, 20, 2);
  expect(await readdir(join(run, "checkpoints"))).toEqual([15, 20, 25].map(checkpointName));
});

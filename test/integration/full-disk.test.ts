// A coordinator whose disk is full: decisions wait for room, and nothing is lost by it, not even if it is killed meanwhile.

import { join } from "node:path";
import { expect, test } from "vitest";
import { readSteps, smallRun, start } from "../support/cli.ts";
import { fill, smallDisk } from "../support/small-disk.ts";

test("a coordinator on a full disk waits for room and goes on; killed while it waits, it goes on when there is some", async ({
  skip,
}) => {
  const disk = await smallDisk(8000);
  if (disk === undefined) return skip("no file system can be mounted here");
  const { config } = await smallRun({ steps: 1_000_000, eval_every: 0 });
  const run = join(disk, "run");
  const sets = ["cluster.workers=2", `checkpoint.dir=${disk}`, "checkpoint.name=run", "checkpoint.every=0"];
  const first = start(["coordinator", config, ...sets.flatMap((set) => ["--set", set])]);
  const [, address] = await first.waitFor(/ringtune worker --coordinator (\S+) /);
  const workers = ["w0", "w1"].map((id) =>
    start(["worker", "--coordinator", address!, "--token-file", join(run, "join-token"), "--id", id]),
  );
  await first.waitFor(/step +20\//);

  const free = await fill(disk);
  await first.waitFor(/durable: the disk is full; the run waits for room, 60 s at most/);
  await free();
  await first.waitFor(/durable has room again, after \d+(\.\d)? s: the run goes on[^]*step +\d+\//);

  const freeAgain = await fill(disk);
  await first.waitFor(/the run goes on[^]*durable: the disk is full; the run waits for room/);
  first.child.kill("SIGKILL");
  await first.finished;
  await freeAgain();
  const second = start(["coordinator", "--resume", run]);
  await second.waitFor(/generation \d+ -> \d+ with 2 workers: all are back[^]*step +\d+\//);
  second.child.kill("SIGINT");
  const { code, stderr } = await second.finished;
  expect(code, stderr).toBe(130);
  const [, last] = /stopped by SIGINT after step (\d+);/.exec(stderr) ?? [];
  for (const worker of workers) {
    const ended = await worker.finished;
    expect(ended, ended.stderr).toMatchObject({ code: 0 });
    expect(ended.stdout).toContain("found the coordinator again");
  }
  const steps = await readSteps(run);
  expect(steps.map(({ step }) => step)).toEqual(Array.from({ length: Number(last) }, (_, i) => i + 1));
  expect(steps.at(-1)?.ledger).toMatchObject({ committed: 12 * steps.length, duplicated: 0, lost: 0 });
});

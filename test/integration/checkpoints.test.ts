// Checkpoints of real processes: a writer that dies in the middle, resumes at other numbers of workers, disks that fill up.

import { cp, readdir, readFile, readlink, rm, symlink, watch, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { describe, expect, test } from "vitest";
import { childrenOf, finish, readSteps, smallRun, start } from "../support/cli.ts";
import { enlarge, smallDisk } from "../support/small-disk.ts";

const range = (from: number, to: number): number[] => Array.from({ length: to - from + 1 }, (_, i) => from + i);

async function losses(run: string): Promise<number[]> {
  return (await readSteps(run)).map(({ loss }) => loss);
}

/** The worker of this name among the children of `parent`. */
async function pidOf(parent: number, id: string): Promise<number> {
  const children = await childrenOf(parent);
  for (const pid of children) {
    const words = (await readFile(`/proc/${pid}/cmdline`, "utf8")).split("\0");
    if (words[words.indexOf("--id") + 1] === id) return pid;
  }
  throw new Error(`no worker ${id} among ${children.join(", ")}`);
}

/** Resolves when `folder` has an entry of that name. */
async function appears(folder: string, name: RegExp): Promise<string> {
  const changes = watch(folder);
  const look = async (): Promise<string | undefined> => (await readdir(folder)).find((each) => name.test(each));
  const there = await look();
  if (there !== undefined) return there;
  for await (const change of changes)
    if (change.filename !== null && name.test(change.filename)) return change.filename;
  throw new Error("not reached");
}

async function temporaries(run: string): Promise<string[]> {
  return (await readdir(join(run, "checkpoints"))).filter((name) => name.endsWith(".tmp"));
}

test("a writer that dies in the middle of its part costs that checkpoint: another follows, and any number goes on from it", async () => {
  const small = await smallRun({ steps: 16 });
  // The thread of w1 comes to the folder of step 5 and no further.
  const fault = join(small.folder, "fault.mjs");
  await writeFile(
    fault,
    `import { promises } from "node:fs"; import { syncBuiltinESMExports } from "node:module";
     const { mkdir } = promises;
     if (process.argv.includes("w1")) promises.mkdir = async (path, ...rest) => {
       if (String(path).includes(".step-00000005.")) await new Promise(() => setInterval(() => {}, 1e6));
       return mkdir(path, ...rest);
     };
     syncBuiltinESMExports();`,
  );
  const settings = ["--set", "checkpoint.every=5", "--set", "checkpoint.keep=9", "--set", "checkpoint.name=wounded"];
  const run = join(small.folder, "runs/wounded");
  const running = start(["train", small.config, "--workers", "2", ...settings], {
    env: { NODE_OPTIONS: `--import=${fault}` },
    pauseAt: /step +7\/16/,
  });
  await running.paused(); // while one writes and the other can't
  const parts = await appears(join(run, "checkpoints"), /^\.step-00000005\.\w+-\d+\.tmp$/);
  expect(await readdir(join(run, "checkpoints"))).toEqual([parts]);
  process.kill(await pidOf(running.child.pid!, "w1"), "SIGKILL");
  running.child.kill("SIGCONT");
  const result = await running.finished;
  expect(result, result.stderr).toMatchObject({ code: 0 });
  expect(result.stdout).toContain("the checkpoint of step 5 is abandoned, its writer is gone; another is made at the");
  const steps = (await readdir(join(run, "checkpoints"))).sort().map((name) => Number(/^step-(\d+)$/.exec(name)?.[1]));
  expect(steps[0]).toBeGreaterThan(6);
  expect(steps[0]).toBeLessThanOrEqual(10);
  expect(steps.at(-1)).toBe(16);
  expect(await readlink(join(run, "latest"))).toBe("checkpoints/step-00000016");
  const whole = await losses(run);
  expect(whole).toHaveLength(16);

  for (const workers of [2, 3]) {
    const copy = join(small.folder, "runs", `with-${workers}`);
    await cp(run, copy, { recursive: true, verbatimSymlinks: true });
    await rm(join(copy, "latest"));
    await symlink(`checkpoints/step-${String(steps[0]).padStart(8, "0")}`, join(copy, "latest"));
    const again = await finish(["train", "--resume", copy, "--workers", String(workers)]);
    expect(again, again.stderr).toMatchObject({ code: 0 });
    const found = await losses(copy);
    found.forEach((loss, i) => expect(Math.abs(loss - whole[i]!) / whole[i]!, `step ${i + 1}`).toBeLessThan(1e-5));
  }
});

describe("a disk that fills up", () => {
  // A checkpoint is 440 KB and two are kept, so the third does not fit.
  const small = async (name: string, ...settings: string[]) => {
    const disk = await smallDisk(1200);
    const { config } = await smallRun({ steps: 24 });
    const where = ["--set", `checkpoint.dir=${disk}`, "--set", `checkpoint.name=${name}`];
    return {
      disk,
      args: ["train", config, "--workers", "2", ...where, ...settings.flatMap((each) => ["--set", each])],
    };
  };

  test("does not end the run: it is said, and the last checkpoint waits until there is room", async ({ skip }) => {
    const { disk, args } = await small("patient");
    if (disk === undefined) return skip("no file system can be mounted here");
    const running = start(args);
    const [said] = await running.waitFor(
      /cannot write (part \d of 2 of )?the checkpoint of? .*: the disk is full; the last good one is of step 10; training goes on, and the next is due after step 20/,
    );
    expect(said).toContain(disk);
    await running.waitFor(/a checkpoint takes 4\d\d,\d{3} bytes, and \d[\d,]* bytes are free at/);
    await running.waitFor(/step +24\/24/);
    await running.waitFor(/the disk is full; the last good one is of step 10; trying again for \d+ s/);
    expect(await readlink(join(disk, "patient/latest"))).toBe("checkpoints/step-00000010");
    enlarge(disk, 16_000);
    const result = await running.finished;
    expect(result, result.stderr).toMatchObject({ code: 0 });
    const run = join(disk, "patient");
    expect(await readlink(join(run, "latest"))).toBe("checkpoints/step-00000024");
    expect((await readSteps(run)).map(({ step }) => step)).toEqual(range(1, 24));
    expect(await temporaries(run)).toEqual([]);
  });

  test("and stays full ends it with the cause and the last good checkpoint, from which it goes on", async ({
    skip,
  }) => {
    const { disk, args } = await small("impatient", "checkpoint.retry_s=1");
    if (disk === undefined) return skip("no file system can be mounted here");
    const result = await finish(args);
    expect(result.code).toBe(1);
    expect(result.stderr).toMatch(
      /the checkpoint of step 24, the last one, could not be written for 1 s: .*: the disk is full; the last good one is of step 10; go on from the checkpoint of step 10 with: ringtune train --resume /,
    );
    const run = join(disk, "impatient");
    expect(await temporaries(run)).toEqual([]);
    enlarge(disk, 16_000);
    const again = await finish(["train", "--resume", run]);
    expect(again, again.stderr).toMatchObject({ code: 0 });
    expect((await readSteps(run)).map(({ step }) => step)).toEqual(range(1, 24));
  });
});

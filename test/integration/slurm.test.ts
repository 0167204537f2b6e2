// deploy/slurm/ringtune.sbatch on a real Slurm of two nodes: a worker that is killed is replaced, and a job that reaches its time
// limit saves, is requeued and goes on.

import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { expect, test } from "vitest";
import { packageRoot } from "../../common/package-root.ts";
import { finish, program, readSteps, smallRun } from "../support/cli.ts";
import { startSlurm, withoutSlurm } from "../support/slurm.ts";

const script = join(packageRoot, "deploy/slurm/ringtune.sbatch");

test.skipIf(withoutSlurm !== undefined)(
  "a job on two nodes survives a killed worker and its time limit",
  async () => {
    const slurm = await startSlurm();
    const small = await smallRun({ steps: 100_000, eval_every: 0, schedule: "constant" });
    const log = join(small.folder, "job.log");
    const environment = {
      RINGTUNE: `${process.execPath} ${program}`,
      RINGTUNE_RUNS: join(small.folder, "runs"),
      RINGTUNE_NAME: "job",
      RINGTUNE_HOST: "127.0.0.1", // both nodes are this host
    };
    const exported = Object.entries(environment).map(([name, value]) => `${name}=${value}`);
    const job = await slurm.command(
      "sbatch",
      ...["--parsable", "--nodes=2", "--ntasks=2", "--ntasks-per-node=1", "--time=2", "--signal=B:USR1@75"],
      ...[`--output=${log}`, `--export=ALL,${exported.join(",")}`, script, small.config],
    );
    const read = (): Promise<string> => readFile(log, "utf8").catch(() => "");
    const printed = async (pattern: RegExp): Promise<void> => {
      const look = expect.poll(read, { interval: 200 });
      await look.toMatch(pattern).catch(async (cause: unknown) => {
        throw new Error(`job ${job} is ${await slurm.stateOf(job)} without ${pattern}:\n${await read()}`, { cause });
      });
    };
    await printed(/step +3\//);
    const status = await finish(["status", join(small.folder, "runs/job")]);
    const pids = [...status.stdout.matchAll(/^ {2}(w\d) .* (\d+) +heard/gm)].map(
      ([, id, pid]) => [id, Number(pid)] as const,
    );
    expect(pids, status.stdout).toHaveLength(2);
    const steps = await slurm.command("squeue", "--steps", "--noheader", "--format=%N %j", `--job=${job}`);
    expect(steps).toMatch(/n1 w\d/);
    expect(steps).toMatch(/n2 w\d/);

    const [id, pid] = pids[1]!;
    process.kill(pid, "SIGKILL");
    await printed(new RegExp(`worker ${id} ended with 137; starting it anew in 1 s \\(try 1 of 5\\)`));
    await printed(/with 2 workers: worker w\d \(host .*\) joins/);

    await printed(/the time limit is near: saving and requeueing/);
    await printed(/requeueing job/);
    const before = (await readSteps(join(small.folder, "runs/job"))).length;
    await printed(/going on with .* \(start 2 of this job\)/);
    await printed(new RegExp(`step +${before + 2}/`));
    await slurm.command("scancel", job);
    await expect.poll(() => slurm.stateOf(job)).toMatch(/^CANCELLED/);
    const numbers = (await readSteps(join(small.folder, "runs/job"))).map(({ step }) => step);
    expect(numbers).toEqual(numbers.map((_, i) => i + 1));
  },
  300_000,
);
test.skipIf(withoutSlurm === undefined)(withoutSlurm ?? "", () => undefined);

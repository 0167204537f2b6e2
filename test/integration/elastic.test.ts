import { join } from "node:path";
import { expect, onTestFinished, test } from "vitest";
import type { StepRecord } from "../../common/records.ts";
import {
  childrenOf,
  finish,
  linesOf,
  readSteps,
  smallRun,
  start,
  waitForStep,
  type Running,
  type SmallRun,
} from "../support/cli.ts";

function losses(steps: readonly StepRecord[]): number[] {
  return steps.map(({ loss }) => loss);
}

function worstRelative(a: readonly number[], b: readonly number[]): number {
  expect(a.length).toBe(b.length);
  return Math.max(...a.map((value, i) => Math.abs(value - b[i]!) / Math.abs(value)));
}

/** Far more than a test waits for: it stops the run when it has seen enough, however fast the machine is. */
const endless = { steps: 100_000, eval_every: 0, schedule: "constant" };

/** Ends a run by Ctrl-C. Its steps so far, and the run of as many steps that nothing happens to. */
async function stopAndRepeat({ folder, config }: SmallRun, running: Running, name: string) {
  running.child.kill("SIGINT");
  const result = await running.finished;
  expect(result, result.stderr + result.stdout).toMatchObject({ code: 130 });
  const run = join(folder, "runs", name);
  const steps = await readSteps(run);
  expect(steps.map(({ step }) => step)).toEqual(steps.map((_, i) => i + 1));
  const repeat = ["--workers", "1", "--set", "checkpoint.name=undisturbed", "--set", `train.steps=${steps.length}`];
  const undisturbed = await finish(["train", config, ...repeat]);
  expect(undisturbed, undisturbed.stderr).toMatchObject({ code: 0 });
  const expected = await readSteps(join(folder, "runs/undisturbed"));
  expect(worstRelative(losses(expected), losses(steps))).toBeLessThan(1e-5);
  expect(steps.map(({ ledger }) => ledger?.digest)).toEqual(expected.map(({ ledger }) => ledger?.digest));
  return { run, steps, stdout: result.stdout };
}

test("a worker that stops without a word is suspected, given up, and takes part again when it goes on", async () => {
  const small = await smallRun(endless);
  const running = start([
    ...["train", small.config, "--workers", "2", "--set", "checkpoint.name=silent"],
    ...["--set", "cluster.heartbeat_s=0.2", "--set", "cluster.restarts=0"],
  ]);
  await running.waitFor(/step +30\//);
  const [victim] = await childrenOf(running.child.pid!);
  process.kill(victim!, "SIGSTOP");
  onTestFinished(() => {
    try {
      process.kill(victim!, "SIGKILL");
    } catch {
      // It has gone, as it should.
    }
  });
  await running.waitFor(/has not been heard for \d+ ms; .*: healthy -> suspect/);
  await running.waitFor(
    new RegExp(
      String.raw`lost worker w\d \(.*pid ${victim}, .*\): has not been heard for \d+ ms; its heartbeats came every \d+ ms \(sd \d+ ms\), limit \d+ ms`,
    ),
  );
  process.kill(victim!, "SIGCONT");
  const back = String.raw`worker (w\d) \(host .*, pid ${victim}\) is back and joins after step \d+`;
  await running.waitFor(new RegExp(String.raw`${back}[^]*with 2 workers: worker \1 [^]*is formed: 2 workers`));
  await waitForStep(join(small.folder, "runs/silent"), ({ generation }) => generation >= 3);
  const { steps, stdout } = await stopAndRepeat(small, running, "silent");
  expect(stdout).not.toContain("differ");
  const alone = steps.findIndex(({ worldSize }) => worldSize === 1);
  expect(steps.slice(alone).map(({ worldSize }) => worldSize)).toContain(2);
});

/** `ringtune train`, with its run folder. */
function trainAs(small: SmallRun, name: string, ...args: string[]) {
  const running = start(["train", small.config, "--set", `checkpoint.name=${name}`, ...args]);
  return { running, run: join(small.folder, "runs", name) };
}

test("a worker that joins while others train gets the weights from a peer and shares the work; the maths stays the same", async () => {
  const small = await smallRun(endless);
  const { running, run } = trainAs(small, "joined", "--workers", "1", "--set", "cluster.verify_every=1");
  await running.waitFor(/step +20\//);
  const status = await finish(["status", run]);
  expect(status.stdout).toMatch(
    /^joined: running, step \d+ of 100000, checkpoint of step \d+, generation 1\n {2}w0 +healthy +rank 0 /,
  );
  // The last line is the command that starts one more.
  const token = join(run, "join-token");
  const [, address] =
    /join it: +ringtune worker --coordinator (\S+) --token-file \S+join-token\n$/.exec(status.stdout) ?? [];
  const late = start(["worker", "--coordinator", address!, "--token-file", token, "--id", "late"]);
  await running.waitFor(/generation 1 -> 2 with 2 workers: worker late \(host .*\) joins/);
  await waitForStep(run, ({ generation }) => generation === 2);
  const { steps, stdout } = await stopAndRepeat(small, running, "joined");
  expect(stdout).not.toContain("differ");
  const ended = await late.finished;
  expect(ended).toMatchObject({ code: 0 });
  const last = { message: "the run is over: stopped by SIGINT", job: "joined", worker: "late", rank: 1 };
  expect(linesOf(ended).at(-1)).toMatchObject(last);
  expect(steps.at(-1)).toMatchObject({ worldSize: 2, generation: 2 });
});

test("scaling up starts workers, scaling down and SIGTERM let them finish their step; nobody is restarted", async () => {
  const small = await smallRun(endless);
  const { running, run } = trainAs(small, "scaled", "--workers", "1", "--set", "cluster.verify_every=1");
  await running.waitFor(/step +5\//);
  const [first] = await childrenOf(running.child.pid!);
  expect(await finish(["scale", run, "0"])).toMatchObject({
    code: 2,
    stderr: "ringtune: 0 workers can't train; stop the run with Ctrl-C instead\n",
  });
  expect(await finish(["scale", run, "3"])).toMatchObject({ code: 0, stdout: "scaling from 1 to 3 workers\n" });
  await running.waitFor(/with 3 workers: worker w\d/);
  const pids = await childrenOf(running.child.pid!);
  process.kill(pids[1]!, "SIGTERM");
  await running.waitFor(/with 2 workers: worker w\d drains \(stopped by SIGTERM\)/);
  expect(await finish(["drain", run, "w9"])).toMatchObject({ code: 2 });
  const drained = await finish(["scale", run, "1"]);
  expect(drained.stdout).toMatch(
    /^scaling from 2 to 1 workers; worker w\d drains \(scaled to 1 workers\): it goes when step \d+ is committed\n$/,
  );
  await running.waitFor(/with 1 workers: worker w\d drains \(scaled/);
  expect(await childrenOf(running.child.pid!)).toContain(first);
  const { steps, stdout } = await stopAndRepeat(small, running, "scaled");
  expect(stdout).not.toMatch(/differ|lost worker/);
  const { ledger, samples } = steps.at(-1)!;
  expect(ledger).toMatchObject({ committed: steps.length * samples, duplicated: 0, lost: 0 });
  expect(ledger!.requeued).toBeGreaterThan(0);
  expect(await finish(["status", run])).toMatchObject({ code: 1 });
});

test("a worker that is killed is started again by itself, and joins the others with their weights", async () => {
  const small = await smallRun(endless);
  const { running, run } = trainAs(small, "again", "--workers", "2", "--set", "cluster.verify_every=1");
  await running.waitFor(/step +5\//);
  const before = await childrenOf(running.child.pid!);
  process.kill(before[1]!, "SIGKILL");
  const [, id] = await running.waitFor(/starting worker (w\d) again in 1 s \(try 1 of 5\)/);
  await running.waitFor(/generation 1 -> 2 with 1 workers: lost worker w\d/);
  await running.waitFor(new RegExp(`generation 2 -> 3 with 2 workers: worker ${id} \\(host .*\\) joins`));
  await waitForStep(run, ({ generation }) => generation === 3);
  expect(await childrenOf(running.child.pid!)).toContain(before[0]);
  const { steps, stdout } = await stopAndRepeat(small, running, "again");
  expect(stdout).not.toContain("differ");
  expect(steps.at(-1)).toMatchObject({ worldSize: 2, generation: 3 });
});

import { cp, readdir, readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { expect, test } from "vitest";
import type { StepRecord } from "../../common/records.ts";
import {
  childrenOf,
  finish,
  linesOf,
  readSteps,
  readValidations,
  smallRun,
  start,
  type Running,
  type SmallRun,
} from "../support/cli.ts";
import { refusal, sentenceOf } from "../support/refusal.ts";

interface Cluster extends SmallRun {
  readonly coordinator: Running;
  readonly workers: readonly Running[];
  readonly run: string;
}

/** `ringtune coordinator` and two workers, which have done 20 steps: there the coordinator stands still. */
async function train(settings: Record<string, unknown>, ...args: string[]): Promise<Cluster> {
  const small = await smallRun(settings);
  const run = join(small.folder, "runs/run");
  const coordinator = start(
    ["coordinator", small.config, "--set", "cluster.workers=2", "--set", "checkpoint.name=run", ...args],
    { pauseAt: /step +20\// },
  );
  const [, address] = await coordinator.waitFor(/ringtune worker --coordinator (\S+) /);
  const workers = ["w0", "w1"].map((id) => workerOf(run, address!, id));
  await coordinator.paused();
  return { ...small, coordinator, workers, run };
}

function workerOf(run: string, address: string, id: string): Running {
  return start(["worker", "--coordinator", address, "--token-file", join(run, "join-token"), "--id", id]);
}

async function kill({ coordinator }: Cluster): Promise<void> {
  coordinator.child.kill("SIGKILL");
  expect((await coordinator.finished).signal).toBe("SIGKILL");
}

const facts = (steps: readonly StepRecord[]) => steps.map(({ step, loss, ledger }) => [step, loss, ledger?.digest]);

test("a coordinator that is killed and started again goes on with its workers, and nobody can tell by the results", async () => {
  const steps = 150;
  const cluster = await train({ steps, eval_every: 50 });
  const { coordinator, workers, run, folder, config } = cluster;
  const pids = await Promise.all(workers.map(({ child }) => childrenOf(child.pid!)));
  await kill(cluster);
  for (const worker of workers)
    await worker.waitFor(/looking for the coordinator at .* for up to 300 s, with the weights of step \d+"/);

  // A damaged log, and somebody else's, are refused before anything is touched.
  const copyOf = async (name: string): Promise<string> => {
    const copy = join(folder, "runs", name);
    // Workers may still be writing their parts of a checkpoint.
    const filter = (path: string): boolean => !path.endsWith(".tmp");
    await cp(run, copy, { recursive: true, verbatimSymlinks: true, filter });
    return copy;
  };
  const damaged = await copyOf("damaged");
  const log = (await readdir(join(damaged, "durable"))).filter((name) => name.endsWith(".log")).at(-1)!;
  const bytes = await readFile(join(damaged, "durable", log));
  await writeFile(join(damaged, "durable", log), bytes.fill(0xff, 10, 20));
  expect(await refusal(["coordinator", "--resume", damaged])).toMatch(
    /durable was damaged: .*; remove \S+ to go on from the newest checkpoint instead$/,
  );
  const other = await copyOf("other");
  expect(await refusal(["coordinator", "--resume", other])).toBe(
    `what the coordinator kept is not of this job: job is "run" in it, "other" now; remove ${join(other, "durable")} to go on from the newest checkpoint instead`,
  );
  // What would make the workers' optimizer another can't change while they are there.
  const changed = await refusal(["coordinator", "--resume", run, "--set", "train.optimizer.weight_decay=0.5"], {
    code: 2,
  });
  expect(changed).toContain("train.optimizer.weight_decay: 0.5 now, 0.01 in the run");

  const again = start(["coordinator", "--resume", run]);
  const result = await again.finished;
  expect(result, result.stderr + coordinator.output()).toMatchObject({ code: 0, stderr: "" });
  expect(result.stdout).toMatch(/going on after step \d+: waiting at \S+ for w\d, w\d to come back, up to 300 s/);
  expect(result.stdout).toMatch(/generation 1 -> 2 with 2 workers: all are back/);
  for (const [index, worker] of workers.entries()) {
    // The very processes.
    expect(result.stdout).toContain(`worker w${index} (host`);
    expect(result.stdout).toContain(`pid ${pids[index]![0]}) is back and holds `);
    const ended = await worker.finished;
    expect(ended.code).toBe(0);
    // What it says besides its messages to the coordinator.
    const own = linesOf(ended).filter(({ message }) => !/^(takes part in|wrote its part)/.test(message));
    expect(own.map(({ message }) => message.replace(/.*(looking for) .*/, "$1"))).toEqual([
      "looking for",
      expect.stringMatching(/^found the coordinator again after \d+\.\d s$/) as string,
      "the run is over: all 150 steps are done",
    ]);
  }

  const undisturbed = await finish(["train", config, "--workers", "2", "--set", "checkpoint.name=undisturbed"]);
  expect(undisturbed, undisturbed.stderr).toMatchObject({ code: 0 });
  const [found, expected] = [await readSteps(run), await readSteps(join(folder, "runs/undisturbed"))];
  expect(facts(found)).toEqual(facts(expected));
  expect((await readValidations(run)).map(({ step, loss }) => [step, loss])).toEqual(
    (await readValidations(join(folder, "runs/undisturbed"))).map(({ step, loss }) => [step, loss]),
  );
  expect(found.at(-1)?.ledger).toMatchObject({ committed: steps * 12, duplicated: 0, lost: 0 });
  const weights = ["run", "undisturbed"].map((name) =>
    readFile(join(folder, "runs", name, "latest/state.json"), "utf8"),
  );
  // The digests of all files, weights and optimizer state among them.
  const [mine, theirs] = await Promise.all(weights);
  expect(mine).toBe(theirs);
});

test("workers that find no coordinator end with a sentence, and a run whose workers are gone goes on from its checkpoint", async () => {
  const cluster = await train({ steps: 60, eval_every: 0 }, "--set", "cluster.recover_s=1");
  const { run, workers } = cluster;
  await kill(cluster);
  for (const worker of workers) {
    const { code, stderr } = await worker.finished;
    expect(code).toBe(1);
    expect(stderr).toMatch(
      /^ringtune worker: no coordinator at \S+ took this worker back within 1 s \(no coordinator answers at \S+\); it held the weights of step \d+\n$/,
    );
  }
  const again = start(["coordinator", "--resume", run]);
  await again.waitFor(
    /nobody \(w\d, w\d\) came back within 1 s that holds the weights of step \d+; the run goes on from the checkpoint of step \d+, with 2 workers that are started now:/,
  );
  const [, address] = await again.waitFor(/ringtune worker --coordinator (\S+) /);
  const fresh = ["w0", "w1"].map((id) => workerOf(run, address!, id));
  const result = await again.finished;
  expect(result, result.stderr).toMatchObject({ code: 0, stderr: "" });
  for (const worker of fresh) expect((await worker.finished).code).toBe(0);
  const steps = await readSteps(run);
  expect(steps.map(({ step }) => step)).toEqual(Array.from({ length: 60 }, (_, i) => i + 1));
  expect(steps.at(-1)?.ledger).toMatchObject({ committed: 60 * 12, duplicated: 0, lost: 0 });
  expect(sentenceOf(await finish(["coordinator", "--resume", run]), 2)).toMatch(/has done 60 steps/);
});

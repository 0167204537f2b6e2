// `make bench-recovery`: what a lost worker, a new one and a lost coordinator cost: from SIGKILL to the next committed step with
// one of two and one of four workers, beside torchrun's elastic restart (elastic_restart.py) in turns in the same run. Both
// models are tiny, so that the time is that of detection, forming anew and, with torchrun, restarting. RINGTUNE_PEERS names
// the folder of the peers; without it, ours alone. Nothing here passes or fails.

import { execFile } from "node:child_process";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { promisify } from "node:util";
import { quantile } from "../../common/median.ts";
import { packageRoot } from "../../common/package-root.ts";
import type { StepRecord } from "../../common/records.ts";
import { startCluster, type Cluster } from "../../coordinator/chaos/cluster.ts";
import { now } from "../../coordinator/rpc/driver.ts";

const rounds = Number(process.env["RINGTUNE_BENCH_ROUNDS"] ?? 20);
/** What is trained. */
const config = process.env["RINGTUNE_BENCH_CONFIG"] ?? join(packageRoot, "examples/soak.yaml");
/** Ours and theirs take turns after so many. */
const inARow = 4;
/** Steps between a join and the next death. */
const quietSteps = 10;

/** Milliseconds of each round. */
interface Times {
  readonly recovery: number[];
  /** Of that, computing and reducing the step anew. */
  readonly redone: number[];
  readonly join: number[];
  /**
   * How much longer than usual two steps took when somebody joined: the one in which it gets its weights, and the others compute
   * as many rows as without it, and that of its first share.
   */
  readonly pause: number[];
  readonly step: number[];
  /** From SIGKILL of the coordinator, which is started again at once, to the next committed step. */
  readonly coordinator: number[];
}

const never = new AbortController().signal;

async function killAndReplace(cluster: Cluster, round: number, times: Times): Promise<void> {
  const { records } = cluster;
  const alive = cluster.workers.filter(({ exit }) => exit === undefined);
  const victim = alive[round % alive.length]!;
  const { generation, worldSize } = records.last!;
  const usualOf = (steps: readonly StepRecord[]): number =>
    quantile(
      steps.map(({ seconds }) => seconds.total * 1000),
      0.5,
    );
  const usual = usualOf(records.steps.slice(-quietSteps));
  const killedMs = now();
  victim.kill("SIGKILL");
  const next = await records.when((record) => record.generation > generation, never);
  times.recovery.push(next.timeMs - killedMs);
  times.redone.push((next.seconds.compute + next.seconds.allReduce) * 1000);
  times.step.push(usual);
  const fresh = cluster.startWorker();
  const isWhole = (record: typeof next): boolean =>
    record.generation > next.generation && record.worldSize === worldSize;
  const joined = await records.when(isWhole, never);
  const before = records.steps[records.steps.indexOf(joined) - 1]!;
  // The first of them was done anew.
  const usualWithout = usualOf(records.steps.slice(records.steps.indexOf(next) + 1, records.steps.indexOf(joined)));
  times.join.push(joined.timeMs - fresh.startedMs);
  await records.when(({ step }) => step > joined.step + quietSteps, never);
  const after = records.steps[records.steps.indexOf(joined) + 1]!;
  times.pause.push(after.timeMs - before.timeMs - usualWithout - usual);
}

async function killCoordinator(cluster: Cluster, times: Times): Promise<void> {
  const { coordinator, records } = cluster;
  const killedMs = now();
  coordinator.kill("SIGKILL");
  await coordinator.exited;
  await cluster.restartCoordinator();
  const next = await records.when(({ timeMs }) => timeMs > killedMs, never);
  times.coordinator.push(next.timeMs - killedMs);
  await records.when(({ step }) => step > next.step + quietSteps, never);
}

async function measure(workers: number, count: number, folder: string, times: Times): Promise<void> {
  const run = join(folder, `run-${workers}-${times.recovery.length}`);
  const own = { "cluster.workers": workers, "checkpoint.dir": folder, "checkpoint.name": run.slice(folder.length + 1) };
  const sets = Object.entries(own).flatMap(([path, value]) => ["--set", `${path}=${value}`]);
  const args = [config, ...sets];
  const cluster = await startCluster({ args, run, logs: `${run}.logs` });
  try {
    for (let i = 0; i < workers; i++) cluster.startWorker();
    await cluster.records.when(({ step }) => step > 2 * quietSteps, never);
    for (let i = 0; i < count; i++) {
      await killAndReplace(cluster, times.recovery.length, times);
      await killCoordinator(cluster, times);
      const [worker, coordinator] = [times.recovery, times.coordinator].map((all) => Math.round(all.at(-1)!));
      console.log(`round ${times.recovery.length} of ${workers} workers: ${worker} ms, coordinator ${coordinator} ms`);
    }
  } finally {
    await cluster.close();
  }
}

/** Milliseconds from the SIGKILL to torchrun's next step, or undefined with the reason printed. */
async function restartPeer(peers: string): Promise<number | undefined> {
  const env = { ...process.env, OPENBLAS_CORETYPE: "SKYLAKEX" };
  try {
    const { stdout } = await promisify(execFile)("/usr/bin/python3", [join(peers, "elastic_restart.py")], { env });
    return 1000 * (JSON.parse(stdout.trim().split("\n").at(-1) ?? "") as { recovery_s: number }).recovery_s;
  } catch (error) {
    console.log(`torchrun is left out: ${(error as Error).message.trim().split("\n").at(-1)}`);
    return undefined;
  }
}

function describe(values: readonly number[]): string {
  const [median, low, p95, worst] = [0.5, 0, 0.95, 1].map((q) => `${Math.round(quantile(values, q))} ms`.padStart(8));
  return `${median}   least ${low}   p95 ${p95}   worst ${worst}`;
}

export async function benchRecovery(peers: string | undefined): Promise<void> {
  const folder = await mkdtemp(join(tmpdir(), "ringtune-recovery-"));
  const sizes = [2, 4];
  const ours = sizes.map((): Times => ({ recovery: [], redone: [], join: [], pause: [], step: [], coordinator: [] }));
  const theirs: number[] = [];
  try {
    for (let done = 0; done < rounds; done += inARow) {
      const count = Math.min(inARow, rounds - done);
      for (const [i, times] of ours.entries()) await measure(sizes[i]!, count, folder, times);
      for (let i = 0; i < count && peers !== undefined; i++) {
        const ms = await restartPeer(peers);
        if (ms === undefined) break;
        theirs.push(ms);
        console.log(`round ${theirs.length} of torchrun: ${Math.round(ms)} ms`);
      }
    }
  } finally {
    await rm(folder, { recursive: true, force: true, maxRetries: 3 });
  }
  console.log(`from SIGKILL to the next committed step, medians of ${rounds}`);
  for (const [i, { recovery, redone, join, pause, step, coordinator }] of ours.entries()) {
    const rest = recovery.map((ms, round) => ms - redone[round]!);
    console.log(`  one of ${sizes[i]} workers       ${describe(recovery)}`);
    console.log(`    the step done anew   ${describe(redone)}`);
    console.log(`    all the rest         ${describe(rest)}`);
    console.log(`  a new one joins        ${describe(join)}   from process start to its first committed step`);
    console.log(
      `    the others paused    ${describe(pause)}   beyond two steps; one takes ${Math.round(quantile(step, 0.5))} ms`,
    );
    console.log(
      `  the coordinator of ${sizes[i]}   ${describe(coordinator)}   from its SIGKILL, started again at once`,
    );
  }
  if (theirs.length === 0) return;
  console.log(`  torchrun, one of 2     ${describe(theirs)}`);
  const ratios = ours.map(({ recovery }) => (quantile(theirs, 0.5) / quantile(recovery, 0.5)).toFixed(1));
  console.log(`  torchrun / ringtune    ${sizes.map((size, i) => `${ratios[i]} (${size} workers)`).join(", ")}`);
}

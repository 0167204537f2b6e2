// A few steps of the configured run in a folder that is thrown away. Real: `ringtune train` with one worker, whose time and
// memory are measured. Fake: a real coordinator and so many streams that only pretend to compute, to see that a cluster
// of that size can be served from here.

import type { Config } from "../../common/config/schema.ts";
import { describeError } from "../../common/errors.ts";
import { describeQuantity } from "../cli/quantities.ts";
import { inThrowawayFolder, shortRun } from "../load/short-run.ts";
import { simulateWorker } from "../load/simulated-worker.ts";
import { startCoordinator, type StartedCoordinator } from "../load/start-coordinator.ts";
import { fail, ok, warn, type Finding } from "./finding.ts";
import { availableMemory } from "./machine.ts";

/** The first step warms up, the second is what the others will be like. */
const STEPS = 2;

export interface DryRun {
  readonly findings: readonly Finding[];
  /** Of the checkpoint that it wrote. */
  readonly checkpointBytes?: number;
}

/** `workers` of the run to come share the machine's memory. */
export async function runOneWorker(config: Config, workers: number, signal: AbortSignal): Promise<DryRun> {
  const before = await availableMemory();
  const run = await shortRun(config, { workers: 1, steps: STEPS, signal });
  if (run.kind === "failed") return { findings: [fail("dry run", `one worker fails: ${run.reason}`)] };
  const { seconds, tokens, loss } = run.steps.at(-1)!;
  const speed = `${describeQuantity(tokens / seconds.total)} tokens/s`;
  const step = `a step of ${tokens} targets takes ${seconds.total.toFixed(2)} s (${speed}), loss ${loss.toFixed(4)}`;
  const findings = [
    ok("dry run", `one worker on ${run.engine}: ${step}`),
    ...memoryFinding(run.workerBytes, workers, before),
  ];
  return { findings, checkpointBytes: run.checkpointBytes };
}

function memoryFinding(peak: number, workers: number, available: number | undefined): Finding[] {
  if (peak === 0 || available === undefined) return [];
  const need = peak * workers;
  const sizes = `a worker takes ${describeQuantity(peak)}B of memory at its peak, ${workers} take ${describeQuantity(need)}B, ${describeQuantity(available)}B are free`;
  if (need > available)
    return [fail("memory", `${sizes}; lower train.microbatch or cluster.workers, or set train.recompute: blocks`)];
  return [need > 0.9 * available ? warn("memory", `${sizes}, which is nearly all`) : ok("memory", sizes)];
}

/** Streams that keep to the protocol and compute nothing. */
export async function runFakeCluster(config: Config, workers: number, signal: AbortSignal): Promise<Finding[]> {
  if (workers > config.train.global_batch) {
    const both = `${workers} workers can't share train.global_batch ${config.train.global_batch}`;
    return [fail("fake cluster", `${both}: some would have no sequence`)];
  }
  return inThrowawayFolder(config, { workers, steps: STEPS }, async (path, folder) => {
    const began = performance.now();
    let coordinator: StartedCoordinator | undefined;
    try {
      coordinator = await startCoordinator(path, folder, signal);
      const { address, joinToken, failed } = coordinator;
      const commits: number[] = [];
      let votedMs = 0;
      const onVote = (): void => void (votedMs = performance.now());
      const onCommit = (step: number): void => void (commits[step] = performance.now() - votedMs);
      const options = { coordinator: address, joinToken, computeMs: 0, onVote, onCommit };
      const runs = Array.from({ length: workers }, (_, i) => simulateWorker({ ...options, id: `fake${i}` }));
      await Promise.race([Promise.all(runs), failed]);
      signal.throwIfAborted();
      const seconds = ((performance.now() - began) / 1000).toFixed(1);
      const commit = (commits[STEPS] ?? NaN).toFixed(0);
      return [
        ok(
          "fake cluster",
          `${workers} workers joined, took ${STEPS} steps and a checkpoint in ${seconds} s; a commit reached them all ${commit} ms after the last vote`,
        ),
      ];
    } catch (error) {
      signal.throwIfAborted();
      return [fail("fake cluster", describeError(error))];
    } finally {
      coordinator?.child.kill("SIGKILL");
    }
  });
}

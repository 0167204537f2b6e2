// What the parts of a simulated cluster see of each other. Types only.

import type { Random } from "../../../common/random.ts";
import type { Job } from "../../../coordinator/core/job.ts";
import type { FromWorker } from "../../../proto/messages.ts";
import type { Invariants } from "./invariants.ts";
import type { Network, Stream } from "./network.ts";
import type { Ring } from "./ring.ts";
import type { Timeline } from "./timeline.ts";
import type { Plan, SimulatedWorker, Task } from "./worker.ts";

export interface World {
  readonly job: Job;
  readonly random: Random;
  readonly timeline: Timeline;
  readonly network: Network;
  readonly ring: Ring;
  readonly invariants: Invariants;
  readonly workers: readonly SimulatedWorker[];
  workerNamed(name: string): SimulatedWorker;
  /** Calls the coordinator; undefined when nobody answers. */
  connect(worker: SimulatedWorker): Stream<FromWorker, Task> | undefined;
  /** Starts so many worker processes. */
  launch(count: number): void;
  /** A worker puts the gradients of its shard into the ring. */
  computes(plan: Plan): void;
  /** Whether the disk is full now, for this write. */
  diskFails(): boolean;
  /** A worker's weights are about to be overwritten. */
  loses(worker: SimulatedWorker): void;
  /** A worker answers with what it has not computed. */
  lied(worker: SimulatedWorker): void;
  /** What a validation of the weights of this step finds, per row. */
  validationLoss(step: number): number;
  /** A line for whoever reads a failed schedule; costs nothing otherwise. */
  trace(line: () => string): void;
}

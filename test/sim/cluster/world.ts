// What the parts of a simulated cluster see of each other. Types only.

import type { Random } from "../../../common/random.ts";
import type { Job } from "../../../coordinator/core/job.ts";
import type { Decision, Outcome } from "../../../coordinator/core/state.ts";
import type { FromWorker } from "../../../proto/messages.ts";
import type { SimulatedCoordinator } from "./coordinator.ts";
import type { SimulatedDisk } from "./disk.ts";
import type { Invariants } from "./invariants.ts";
import type { Network, Stream } from "./network.ts";
import type { Ring } from "./ring.ts";
import type { Timeline } from "./timeline.ts";
import type { Witness } from "./witness.ts";
import type { SimulatedWorker, Task } from "./worker.ts";

export interface World {
  readonly job: Job;
  readonly random: Random;
  readonly timeline: Timeline;
  readonly network: Network;
  readonly ring: Ring;
  readonly disk: SimulatedDisk;
  readonly invariants: Invariants;
  readonly witness: Witness;
  /** The one that is there. */
  readonly coordinator: SimulatedCoordinator | undefined;
  readonly outcome: Outcome | undefined;
  workerNamed(name: string): SimulatedWorker;
  /** Whether one of these faults has happened to anybody. */
  workersAfflictedBy(...faults: readonly string[]): boolean;
  /** Calls the coordinator; undefined when nobody answers. */
  connect(worker: SimulatedWorker): Stream<FromWorker, Task> | undefined;
  /** Starts so many worker processes. */
  launch(count: number): void;
  /** A worker answers with what it has not computed. */
  lied(worker: SimulatedWorker): void;
  /** The coordinator can't go on: its store has failed. */
  stops(coordinator: SimulatedCoordinator, reason: string): void;
  ends(outcome: Outcome): void;
  decides(decision: Decision): void;
  /** What a validation of the weights of this step finds, per row. */
  validationLoss(step: number): number;
  /** Something was promised: what follows from it happens before anything else. */
  stir(): void;
  /** A line for whoever reads a failed schedule; costs nothing otherwise. */
  trace(line: () => string): void;
}

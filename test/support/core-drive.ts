// Drives the core by hand: a job of two workers and four steps, the messages that workers send, and what came of them.

import { digestOfSample } from "../../common/sample-digest.ts";
import { advance, initialState } from "../../coordinator/core/coordinator.ts";
import { factsOf, recover } from "../../coordinator/core/durable.ts";
import { nextStep, type Job } from "../../coordinator/core/job.ts";
import { leaseOf } from "../../coordinator/core/ledger.ts";
import type { Brings, Effect, Event, State } from "../../coordinator/core/state.ts";
import { frozen } from "./frozen.ts";

export const job: Job = {
  id: "job",
  workers: 2,
  minWorkers: 2,
  globalBatch: 8,
  microbatch: 4,
  totalSamples: 28,
  samplesPerEpoch: 14,
  validationSequences: 0,
  evalEvery: 0,
  checkpointEvery: 0,
  writers: "one",
  saveRetryMs: 10_000,
  schedule: { schedule: "constant", peak: 0.1, min: 0, warmupSteps: 0, totalSteps: 4 },
  clip: 1,
  skipsOverflow: false,
  heartbeatMs: 1e6,
  joinTimeoutMs: 1000,
  recoverMs: 0,
  stepTimeoutMs: 5000,
  localSteps: 1,
  bitIdentical: false,
  balance: "equal",
  sharesDevices: false,
  verifyEvery: 0,
  earlyStopping: null,
  scoring: null,
  start: { kind: "seed", step: 0 },
};

/** Posts events and remembers everything that was decided. */
export function drive(overrides: Partial<Job> = {}) {
  const spec = { ...job, ...overrides };
  let state: State = initialState(spec, 0);
  const attemptOf = (step: number): number => state.saves.find((save) => save.step === step)?.attempt ?? 0;
  const run = {
    nowMs: 0,
    reason: "",
    post(event: Event): readonly Effect[] {
      const decision = advance(spec, state, event, run.nowMs);
      run.reason = decision.reason;
      // Effects are carried out later: the core may not write to what it has handed out.
      return frozen(decision.effects);
    },
    get state() {
      return state;
    },
    join: (id: string) =>
      run.post({ kind: "joined", worker: { id, host: "node1", pid: 7, ringEndpoint: `tcp://${id}` } }),
    /** A worker calls again, with what it holds. */
    comeBack: (id: string, holds: Partial<Brings> = {}) => {
      const brings = {
        ready: true,
        whole: true,
        generation: state.generation,
        step: state.committed,
        reduced: null,
        ...holds,
      };
      return run.post({ kind: "joined", worker: { id, host: "node1", pid: 7, ringEndpoint: `tcp://${id}` }, brings });
    },
    /** The coordinator dies, and starts again with what it wrote down. */
    restart: () => {
      const kept = JSON.parse(JSON.stringify(factsOf(spec, state))) as ReturnType<typeof factsOf>;
      state = recover(spec, kept, run.nowMs);
    },
    tick: () => run.post({ kind: "tick" }),
    formed: (id: string, extra = {}) => {
      const value = {
        generation: state.generation,
        step: state.committed,
        engine: "e",
        engineWhy: [],
        gpuUuid: "",
        links: [],
        parameters: 10,
        digest: "d",
        notices: [],
      };
      return run.post({ kind: "said", id, message: { kind: "formed", value: { ...value, ...extra } } });
    },
    reduced: (id: string, extra = {}) => {
      const times = {
        dataSeconds: 0,
        computeSeconds: id === "w0" ? 0.2 : 0.3,
        allReduceSeconds: 0.1,
        collectiveSeconds: 0.1,
        microbatches: [],
        buckets: [],
      };
      const { rows } = leaseOf(state.ledger, id, nextStep(spec, state.committed));
      const sampleDigest = digestOfSample([state.committed, rows]);
      const vote = {
        rows,
        sampleDigest,
        lossSum: 6,
        tokens: 2,
        gradientNorm: 1,
        digest: "g",
        times,
        bytesSent: 40,
        bytesBetweenHosts: id === "w0" ? 30 : 0,
        notFiniteRows: [],
        notFiniteTensors: [],
      };
      const value = { generation: state.generation, step: nextStep(spec, state.committed), ...vote, ...extra };
      return run.post({ kind: "said", id, message: { kind: "reduced", value } });
    },
    /** A worker has written its part of the checkpoint of a step. */
    wrote: (id: string, step: number) => {
      const files = [{ name: `of ${id}`, sizeBytes: 1, sha256: "" }];
      const value = { step, attempt: attemptOf(step), files, factsJson: "{}", times: null };
      return run.post({ kind: "said", id, message: { kind: "saved", value } });
    },
    /** Its disk has not taken it. */
    couldNotWrite: (id: string, step: number) => {
      const value = { step, attempt: attemptOf(step), reason: "the disk is full", neededBytes: 9 };
      return run.post({ kind: "said", id, message: { kind: "notSaved", value } });
    },
    /** The run directory has taken a checkpoint. */
    published: (step: number) => run.post({ kind: "published", attempt: attemptOf(step) }),
    applied: (id: string, digest = "") => {
      const value = { generation: state.generation, step: state.committed, seconds: 0, digest, notices: [] };
      return run.post({ kind: "said", id, message: { kind: "applied", value } });
    },
  };
  return run;
}

export function running(overrides: Partial<Job> = {}) {
  const run = drive(overrides);
  run.join("w0");
  run.join("w1");
  run.formed("w0");
  run.formed("w1");
  return run;
}

export const kinds = (effects: readonly Effect[]): string[] => effects.map(({ kind }) => kind);

/** Without the plans that follow a new generation at once. */
export const besidesPlans = (effects: readonly Effect[]): Effect[] => effects.filter(({ kind }) => kind !== "plan");

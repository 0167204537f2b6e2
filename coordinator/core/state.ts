// The vocabulary of the core: what it knows, what happens to it, what it wants done. Types only.

import type { ErrorCode } from "../../common/errors.ts";
import type { PredictionCounts } from "../../common/evaluation/scoring.ts";
import type { StepRecord, ValidationRecord } from "../../common/records.ts";
import type { FromWorker } from "../../proto/messages.ts";
import type { Pace } from "./balance.ts";
import type { Pulse } from "./detection.ts";
import type { Best } from "./early-stopping.ts";
import type { Ledger } from "./ledger.ts";
import type { Range, Start } from "./job.ts";

/** A worker as it introduces itself. */
export interface NewWorker {
  readonly id: string;
  readonly host: string;
  readonly pid: number;
  readonly ringEndpoint: string;
}

/**
 * joining: welcomed, but in no generation yet. healthy: in the generation. suspect: silent for longer than its heartbeats
 * let expect, see detection.ts. draining: goes at the next step boundary. Who is dead is no member any more.
 */
export type Status = "joining" | "healthy" | "suspect" | "draining";

/** What a worker brings along that has been in this run before. */
export interface Brings {
  /** Its engine is made. */
  readonly ready: boolean;
  /** The last generation that it took part in; 0 for none. */
  readonly generation: number;
  /** It has weights, and they are whole. */
  readonly whole: boolean;
  /** Optimizer steps in its weights. */
  readonly step: number;
  /** The step that it has reduced and not applied, and the gradient's digest. */
  readonly reduced: Reduction | null;
}

/** A reduced gradient: of one step in one generation, equal on all ranks. */
export interface Reduction {
  readonly generation: number;
  readonly step: number;
  readonly digest: string;
}

/** A member that may come back. */
export interface Absent extends NewWorker {
  readonly status: Status;
  readonly leaving: string;
  readonly healed: number;
}

export interface Member extends NewWorker {
  status: Status;
  /** Its weights and optimizer state are those of the committed step. */
  holds: boolean;
  /** Joining: its engine is there. */
  ready: boolean;
  /** Draining: why. */
  leaving: string;
  /** How often it has been given the weights of another because its own differed. */
  healed: number;
  /** The GPU that it computes on, "GPU-..."; "" where it has none, or before it has said so. */
  device: string;
  readonly pulse: Pulse;
  /** What it last said it was doing, for the sentence if it stops. */
  doing: string;
  /** It waits for its neighbours, not they for it. */
  inCollective: boolean;
  /** How fast it is, and how late. */
  readonly pace: Pace;
  /** How far its clock is from the coordinator's: positive when it is ahead. Null until it has said so. */
  clock: { readonly offsetSeconds: number; readonly roundTripSeconds: number } | null;
}

/** A worker's vote for a step; see Reduced in the protocol. */
export interface Vote {
  readonly lossSum: number;
  readonly tokens: number;
  readonly gradientNorm: number;
  readonly digest: string;
  readonly dataSeconds: number;
  readonly computeSeconds: number;
  /** That it computed nothing for. */
  readonly allReduceSeconds: number;
  /** In the all-reduce, what overlapped with computation included. */
  readonly collectiveSeconds: number;
  readonly bytesSent: number;
  /** Those of them that left the worker's host. */
  readonly bytesBetweenHosts: number;
  /** Rows of its shard whose own loss or gradient is not finite. */
  readonly notFiniteRows: readonly number[];
  /** Tensors whose gradient, from those rows, is not finite, in the model's order. */
  readonly notFiniteTensors: readonly { readonly name: string; readonly elements: number; readonly size: number }[];
  /** Of the samples it computed on. */
  readonly sampleDigest: string;
}

/** A worker's part of a validation; see Evaluated in the protocol. */
export interface EvaluatedShard {
  readonly lossSum: number;
  readonly tokens: number;
  /** Of models that classify. */
  readonly counts: PredictionCounts | null;
  readonly notFiniteRows: readonly number[];
}

/** A file of a checkpoint, as its writer left it. */
export interface SavedFile {
  readonly name: string;
  readonly sizeBytes: number;
  readonly sha256: string;
}

/** A checkpoint that is planned, written or published; see saving.ts. */
export interface Saving {
  /** From 1; a coordinator that is started again counts on. */
  readonly attempt: number;
  /** In which it was planned. */
  readonly generation: number;
  readonly step: number;
  /** Null until they are on stable storage. */
  readonly parts: { readonly worker: string; files: SavedFile[] | null }[];
  /** state.json without the files, as the first writer says. */
  facts: string;
  /** The run directory has been asked to take it. */
  publishing: boolean;
}

export interface State {
  /**
   * gathering: waiting for workers. recovering: waiting for those to come back that hold the weights. forming: they build a
   * ring. running: steps. ended: nothing happens any more.
   */
  phase: "gathering" | "recovering" | "forming" | "running" | "ended";
  generation: number;
  /** Workers that the run is to have: those it began with, until somebody joins, drains or scales. */
  wanted: number;
  /** In rank order once gathered. */
  members: Member[];
  /** Came while the others train: they enter with the next generation, if their engine is there. */
  joining: Member[];
  /** Some generation was complete: every member holds weights. */
  established: boolean;
  /** Optimizer steps decided; never goes back. */
  committed: number;
  /** Last step planned in this generation. */
  planned: number;
  /** Last steps that were validated, and whose checkpoint was published. */
  validated: number;
  saved: number;
  /** Checkpoints under way, in the order of their steps. */
  saves: Saving[];
  /** Tries so far. */
  saveAttempts: number;
  /** A checkpoint was abandoned: one is made at the next step boundary. */
  owed: boolean;
  /** A checkpoint that is waited for could not be written, since when, and when to try again. */
  unsaved: { readonly sinceMs: number; atMs: number } | null;
  /** The answers that are being waited for, by worker: digests of their weights, and votes. */
  formed: Record<string, string>;
  votes: Record<string, Vote>;
  /** Of the committed step, until all have applied it. */
  applying: {
    record: Omit<StepRecord, "seconds">;
    /** Of the slowest worker for each part. */
    slowest: Pick<StepRecord["seconds"], "data" | "compute" | "allReduce">;
    sinceMs: number;
    pending: string[];
    /** Of the weights, from those who have applied it, when they are compared. */
    digests: Record<string, string>;
  } | null;
  /** The gradient of the committed step: whoever still holds it may apply it. */
  reduction: Reduction | null;
  /** While recovering: who may come back, which of them were back and left again, and the rank order of all. */
  recovery: {
    awaited: Absent[];
    readonly wereBack: string[];
    readonly order: readonly string[];
    readonly untilMs: number;
  } | null;
  validating: { sums: Record<string, EvaluatedShard>; sinceMs: number | null } | null;
  ledger: Ledger;
  /** The next generation is to measure its links. */
  measure: boolean;
  /** As measured when this generation was formed; see measuring.ts. */
  links: {
    readonly from: string;
    readonly to: string;
    readonly bytesPerSecond: number;
    readonly latencySeconds: number;
  }[];
  /** By rank: batches are divided in proportion to these. */
  speeds: number[];
  parameters: number;
  lastStepEndMs: number;
  /** The ring broke, in this sentence; a new generation is formed soon, with or without the worker that broke it. */
  interrupted: string | null;
  /** Generations formed for a broken ring since the last commit, and how often each worker was the first to say that it broke. */
  attempts: number;
  complaints: Record<string, number>;
  /** When the current wait ends in a timeout. */
  deadlineMs: number;
  /** When the next tick is due; one that comes late finds that the coordinator itself stood still. */
  tickMs: number;
  /** Set when the user wants to stop: save what is committed and go. */
  stopping: string | null;
  /** The best validation so far, of a run that may end early. */
  best: Best | null;
  /** What the last validation came to, and the best that has a checkpoint. */
  measured: { readonly step: number; readonly value: number } | null;
  kept: { readonly step: number; readonly value: number } | null;
  /** Set when that has been long ago: no further step is committed, and the run is complete. */
  enough: string | null;
  /** Why the last workers left that did, for the last sentence. */
  losses: string[];
  /** The run has ended for good: nobody needs to come back. */
  over: boolean;
}

export type Event =
  /** `brings`: it has been here before. */
  | { readonly kind: "joined"; readonly worker: NewWorker; readonly brings?: Brings }
  | { readonly kind: "left"; readonly id: string; readonly reason: string }
  | { readonly kind: "said"; readonly id: string; readonly message: FromWorker }
  | { readonly kind: "launch-failed"; readonly reason: string }
  | { readonly kind: "disk-failed"; readonly reason: string }
  /** The run directory has taken the checkpoint of this attempt, or not. */
  | { readonly kind: "published"; readonly attempt: number }
  | { readonly kind: "unpublished"; readonly attempt: number; readonly reason: string; readonly neededBytes: number }
  /** A worker is to go, when its step is done. */
  | { readonly kind: "drain"; readonly id: string; readonly reason: string }
  /** So many workers are to train. */
  | { readonly kind: "scale"; readonly workers: number }
  /** The links between the workers are to be measured. */
  | { readonly kind: "measure-links" }
  | { readonly kind: "stop"; readonly reason: string }
  | { readonly kind: "tick" };

export type Outcome =
  | {
      readonly kind: "completed";
      readonly step: number;
      /** Why before the last step. */
      readonly early?: string;
      /** The step whose weights did best in validation, when that was looked at. */
      readonly best?: number;
    }
  | { readonly kind: "stopped"; readonly step: number; readonly reason: string }
  /** Nobody came back that holds the weights of this step: go on from the newest checkpoint, in the generations after this one. */
  | { readonly kind: "forsaken"; readonly step: number; readonly generation: number; readonly reason: string }
  | {
      readonly kind: "failed";
      readonly step: number;
      readonly code: ErrorCode;
      readonly reason: string;
      /** The samples that the reason is about, by their places in the stream or among the validation sequences. */
      readonly samples?: BlamedSamples;
    };

/** How a run ends; one that is forsaken goes on. */
export type End = Exclude<Outcome, { kind: "forsaken" }>;

export interface BlamedSamples {
  readonly part: "training" | "validation";
  readonly positions: readonly number[];
}

/** Where the weights of a generation come from. Of a peer: from rank `root` to the ranks `receivers`; the others hold them. */
export type Source =
  | Start
  | { readonly kind: "held" }
  | { readonly kind: "peer"; readonly root: number; readonly receivers: readonly number[] };

export type Effect =
  | { readonly kind: "welcome"; readonly to: string }
  | {
      readonly kind: "prepare";
      readonly to: string;
      readonly localWorldSize: number;
      /** What it is to try its engine on, of the sample stream. */
      readonly batch: Range;
      readonly shard: Range;
    }
  /** Start so many workers more. */
  | { readonly kind: "launch"; readonly count: number }
  /** What was asked for by drain or scale can't be done. */
  | { readonly kind: "refuse"; readonly reason: string }
  /** End a worker's session with this sentence. */
  | { readonly kind: "dismiss"; readonly to: string; readonly code: ErrorCode; readonly reason: string }
  | {
      readonly kind: "form";
      readonly to: string;
      readonly generation: number;
      readonly rank: number;
      readonly members: readonly NewWorker[];
      readonly step: number;
      readonly source: Source;
      readonly measureLinks: boolean;
    }
  | {
      readonly kind: "plan";
      readonly to: string;
      readonly generation: number;
      readonly step: number;
      /** Of the sample stream: the whole batch, and this worker's part. */
      readonly batch: Range;
      readonly shard: Range;
      /** One for each step that is taken. */
      readonly learningRates: readonly number[];
      readonly verify: boolean;
    }
  | { readonly kind: "commit"; readonly to: string; readonly generation: number; readonly step: number }
  | {
      readonly kind: "evaluate";
      readonly to: string;
      readonly generation: number;
      readonly step: number;
      readonly shard: Range;
    }
  | {
      readonly kind: "save";
      readonly to: string;
      readonly generation: number;
      readonly step: number;
      readonly position: number;
      readonly attempt: number;
      /** From 0. */
      readonly part: number;
      readonly parts: number;
    }
  | { readonly kind: "record"; readonly record: StepRecord | ValidationRecord }
  /** All parts are written: make them a checkpoint, point `latest` at it, and `best` at that of the best step. */
  | {
      readonly kind: "publish";
      readonly step: number;
      readonly attempt: number;
      readonly files: readonly SavedFile[];
      /** See Saving. */
      readonly facts: string;
      readonly best: number | null;
    }
  /** Remove what was written of a checkpoint; `failure`: because the disk did not take it. */
  | {
      readonly kind: "discard";
      readonly step: number;
      readonly attempt: number;
      readonly failure?: { readonly reason: string; readonly neededBytes: number };
    }
  | { readonly kind: "finish"; readonly to: string; readonly reason: string; readonly drained: boolean }
  | { readonly kind: "ended"; readonly outcome: Outcome };

export interface Decision {
  readonly state: State;
  readonly effects: readonly Effect[];
  /** One sentence for the log; empty when nothing was decided. */
  readonly reason: string;
}

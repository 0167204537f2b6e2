// What happens to the gradients of a step between the engine, which writes those of a microbatch, and the optimizer, which
// wants their sum over all microbatches of all ranks. How the sum is made is the exchange's own; that all ranks end with the
// same bits is not.
//
//     begin --> [ engine writes `gradients` --> add ] per microbatch --> reduce --> `gradients` holds the sum
//
// A step that is given up is left where it is: `stop`, and the next `begin` starts anew.

import type {
  Collective,
  CollectiveCall,
  CollectiveEndpoint,
  CollectiveStats,
  Membership,
} from "../collective/collective.ts";
import { allReduceBytes, createCompressor, type ActiveCompression } from "../compression/compressor.ts";
import type { ParameterLayout } from "../model/parameters.ts";
import type { Engine } from "../engine/engine.ts";
import { createIdenticalGradients } from "./identical-gradients.ts";
import { planBuckets, type Bucket } from "./overlap/buckets.ts";
import { createOverlappingExchange } from "./overlap/overlapping-exchange.ts";
import type { ReducerClient } from "./overlap/reducer-client.ts";
import type { Span } from "./span.ts";
import type { TrainingSettings } from "./trained-weights.ts";

export interface ExchangedStep {
  readonly step: number;
  /** Of the whole batch, over all ranks. */
  readonly microbatches: number;
  /** Gradients are so many times as large as they are meant; see loss-scale.ts. */
  readonly scale: number;
}

/** A generation, as an exchange needs to know it. */
export interface Formed {
  readonly collective: Collective;
  readonly membership: Membership;
  /** Of the engine. */
  readonly ready: Engine["ready"];
}

export interface ExchangeStats extends CollectiveStats {
  /** In the collective, hidden behind computation or not; `seconds` are those that were not. Left out: the same. */
  readonly collectiveSeconds?: number;
  /** When each bucket was under way, where there are several. */
  readonly buckets?: readonly Span[];
}

export interface GradientExchange {
  /** Flat, in the trained layout's order: the engine writes here, and after `reduce` the sum over all ranks is here. */
  readonly gradients: Float32Array;
  /** Whether the engine is to add microbatches up in `gradients`; otherwise it overwrites them, and `add` takes each in. */
  readonly accumulates: boolean;
  /** What it reduces one after another, if it wants to know when the gradients of each are there. */
  readonly buckets?: readonly Bucket[];
  begin(step: ExchangedStep): void;
  /** The engine has written a microbatch, of the rows that `what` names. */
  add(what: string): void;
  /** Sums over the ranks; a rank without a microbatch gives zeros. What `gradients` hold after a rejection is not defined. */
  reduce(collective: Collective, call: CollectiveCall): Promise<ExchangeStats>;
  /**
   * All ranks call it when they have formed a generation. It need not be waited for, but makes calls of the collective until it
   * resolves; `reduce` waits for it.
   */
  form?(formed: Formed, call: CollectiveCall): Promise<unknown>;
  /** What there is to add to how gradients travel, when they have. */
  readonly how?: string;
  /** The engine begins with the last microbatch of a step that will be reduced. */
  startEarly?(): void;
  /** Resolves when nothing writes to the gradients any more. */
  stop?(): Promise<void>;
  /** The generation is over: stops, and lets go what is had in common with its ranks. */
  leave?(): Promise<void>;
  /** The step that was reduced last is committed; `applied` unless its sum is not finite. For what lasts from step to step. */
  commit?(applied: boolean): void;
  /** Other weights than those of the last step are there: what lasted from it counts no more. */
  forget?(): void;
  close?(): Promise<void>;
}

export type ExchangeSettings = Pick<
  TrainingSettings,
  "bit_identical" | "overlap" | "bucket_mb" | "compression" | "local_steps"
>;

/**
 * The exchange of the layout's gradients that the settings ask for. Takes its memory from the endpoint, alike on all ranks.
 * Without `startReducer` nothing overlaps.
 */
export function createGradientExchange(
  layout: ParameterLayout,
  endpoint: Pick<CollectiveEndpoint, "allocate">,
  { bit_identical = false, overlap = "off", bucket_mb, compression, local_steps = 1 }: ExchangeSettings,
  startReducer?: () => ReducerClient,
): GradientExchange {
  if (bit_identical) return createIdenticalGradients(new Float32Array(layout.size), endpoint);
  if (compression !== undefined && compression.method !== "none") {
    return createCompressedExchange(compression, layout, endpoint);
  }
  const gradients = endpoint.allocate(layout.size);
  // Of a round nothing is known before its last step is over.
  if (local_steps > 1) return createPlainExchange(gradients);
  const buckets = planBuckets(layout, bucket_mb && bucket_mb * 1e6);
  return overlap === "off" || buckets.length < 2 || startReducer === undefined
    ? createPlainExchange(gradients)
    : createOverlappingExchange({ gradients, buckets, when: overlap, startReducer });
}

/** Messages in fewer bytes; what they leave out is the compressor's to keep. */
function createCompressedExchange(
  settings: ActiveCompression,
  layout: ParameterLayout,
  endpoint: Pick<CollectiveEndpoint, "allocate">,
): GradientExchange {
  const compressor = createCompressor(settings, layout, endpoint);
  const whole = createPlainExchange(new Float32Array(layout.size));
  let scale = 1;
  let worldSize = 1;
  return {
    ...whole,
    get how() {
      const [bytes, plain] = [compressor.bytesPerStep(worldSize), allReduceBytes(4 * layout.size, worldSize)].map(
        (each) => Math.round(each).toLocaleString("en-US"),
      );
      return `, as ${settings.method}: ${bytes} bytes from each worker instead of ${plain}`;
    },
    begin(step) {
      whole.begin(step);
      ({ scale } = step);
    },
    reduce(collective, call) {
      whole.settle();
      ({ worldSize } = collective);
      return compressor.reduce(whole.gradients, scale, collective, call);
    },
    commit: (applied) => compressor.commit(applied),
    forget: () => compressor.forget(),
  };
}

/** Float32 sums, where the gradients are. */
export function createPlainExchange(gradients: Float32Array): GradientExchange & { settle(): void } {
  let isEmpty = true;
  /** Nobody computed anything: zeros. */
  const settle = (): void => void (isEmpty && gradients.fill(0));
  return {
    gradients,
    settle,
    accumulates: true,
    begin: () => void (isEmpty = true),
    add: () => void (isEmpty = false),
    reduce(collective, call) {
      settle();
      return collective.allReduce(gradients, call);
    },
  };
}

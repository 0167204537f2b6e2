// Gradients that travel in fewer bytes, with error feedback (Seide et al., 2014; Karimireddy et al., 2019): what a rank's own
// message leaves out stays with it and is added to its next gradient, so that nothing is lost, only late.
//
//     x = gradient + error        message = C(x)        error' = x - D(message)        update = sum over ranks of D(message)
//
// so that, over any number of steps, sum of updates = sum of gradients - last errors. Every rank ends with the same bits.
// An error counts from the commit of its step on: until then the one before is kept, and a step that is computed
// again begins with that. Errors are each worker's own: they are in no digest and no checkpoint, and begin at 0.

import { assertNever } from "../../common/errors.ts";
import type { Config } from "../../common/config/schema.ts";
import type { Collective, CollectiveCall, CollectiveEndpoint, CollectiveStats } from "../collective/collective.ts";
import type { ParameterLayout } from "../model/parameters.ts";
import { weightedSum } from "../train/weighted-sum.ts";
import { createHalfCompression } from "./half-gradients.ts";
import { createInt8Compression } from "./int8-gradients.ts";
import { createPowerSgd } from "./power-sgd.ts";
import { createTopKCompression } from "./top-k-gradients.ts";

/** Any but none. */
export type ActiveCompression = Exclude<Config["train"]["compression"], { method: "none" }>;

export interface Compressor {
  /**
   * Sums `gradients`, which are `scale` times what is meant, over all ranks in place, as far as messages hold them. Where
   * one of any rank is not finite, all ranks end with something that is not finite.
   */
  reduce(
    gradients: Float32Array,
    scale: number,
    collective: Collective,
    call: CollectiveCall,
  ): Promise<CollectiveStats>;
  /** The step that was reduced last is committed; `applied` unless its sum was not finite. */
  commit(applied: boolean): void;
  /** As before the first step. */
  forget(): void;
  /** Bytes that a rank of so many sends at every step. */
  bytesPerStep(worldSize: number): number;
}

/** What a method is given to reduce. */
export interface Exchange {
  readonly gradients: Float32Array;
  readonly scale: number;
  /** Of the committed steps; read only. */
  readonly errors: Float32Array;
  /** Becomes the error if this step is committed. */
  readonly next: Float32Array;
  readonly collective: Collective;
  /** The bucket is to be given by number, from 0. */
  readonly call: (bucket: number) => CollectiveCall;
}

/** How gradients become messages and sums. */
export interface Method {
  /** Of more than one rank. */
  reduce(exchange: Exchange): Promise<CollectiveStats[]>;
  commit?(applied: boolean): void;
  forget?(): void;
  bytesPerStep(worldSize: number): number;
}

const nothingSent: CollectiveStats = { bytesSent: 0, bytesBetweenHosts: 0, seconds: 0 };

/** `next` becomes what is meant to be sent: the gradients and the errors, to the same scale. */
export function correct({ gradients, scale, errors, next }: Exchange): void {
  weightedSum(next, { values: gradients, weight: 1 / scale }, { values: errors, weight: 1 });
}

/** `layout` is that of the gradients. */
export function createCompressor(
  settings: ActiveCompression,
  layout: ParameterLayout,
  endpoint: Pick<CollectiveEndpoint, "allocate">,
): Compressor {
  const method = createMethod(settings, layout, endpoint);
  let errors = new Float32Array(layout.size);
  let next = new Float32Array(layout.size);
  return {
    async reduce(gradients, scale, collective, { step, bucket, signal }) {
      if (collective.worldSize === 1) {
        // Nobody to send to: what earlier messages left out is made good at once.
        weightedSum(gradients, { values: gradients, weight: 1 }, { values: errors, weight: scale });
        next.fill(0);
        return nothingSent;
      }
      const call = (number: number): CollectiveCall => ({ step, bucket: bucket + number, signal });
      const stats = await method.reduce({ gradients, scale, errors, next, collective, call });
      return stats.reduce((sum, { bytesSent, bytesBetweenHosts, seconds }) => ({
        bytesSent: sum.bytesSent + bytesSent,
        bytesBetweenHosts: sum.bytesBetweenHosts + bytesBetweenHosts,
        seconds: sum.seconds + seconds,
      }));
    },
    commit(applied) {
      if (applied) [errors, next] = [next, errors];
      method.commit?.(applied);
    },
    forget() {
      errors.fill(0);
      method.forget?.();
    },
    bytesPerStep: (worldSize) => (worldSize === 1 ? 0 : method.bytesPerStep(worldSize)),
  };
}

function createMethod(
  settings: ActiveCompression,
  layout: ParameterLayout,
  endpoint: Pick<CollectiveEndpoint, "allocate">,
): Method {
  switch (settings.method) {
    case "bf16":
      return createHalfCompression("bfloat16", layout.size, endpoint);
    case "fp16":
      return createHalfCompression("float16", layout.size, endpoint);
    case "int8":
      return createInt8Compression(layout.size, endpoint);
    case "topk":
      return createTopKCompression(layout.size, settings.share);
    case "powersgd":
      return createPowerSgd(layout, settings.rank, endpoint);
    default:
      return assertNever(settings);
  }
}

/** What a ring all-reduce of so many bytes sends from each rank: no all-reduce sends less. */
export function allReduceBytes(bytes: number, worldSize: number): number {
  return (2 * (worldSize - 1) * bytes) / worldSize;
}

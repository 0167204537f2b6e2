// What happens to the gradients of a step between the engine, which writes those of a microbatch, and the optimizer, which
// wants their sum over all microbatches of all ranks. How the sum is made is the exchange's own; that all ranks end with the
// same bits is not.
//
//     begin --> [ engine writes `gradients` --> add ] per microbatch --> reduce --> `gradients` holds the sum
//
// A step that is given up is left where it is: the next `begin` starts anew.

import type { Collective, CollectiveCall, CollectiveEndpoint, CollectiveStats } from "../collective/collective.ts";
import { createIdenticalGradients } from "./identical-gradients.ts";

export interface ExchangedStep {
  readonly step: number;
  /** Of the whole batch, over all ranks. */
  readonly microbatches: number;
  /** Gradients are so many times as large as they are meant; see loss-scale.ts. */
  readonly scale: number;
}

export interface GradientExchange {
  /** Flat, in the trained layout's order: the engine writes here, and after `reduce` the sum over all ranks is here. */
  readonly gradients: Float32Array;
  /** Whether the engine is to add microbatches up in `gradients`; otherwise it overwrites them, and `add` takes each in. */
  readonly accumulates: boolean;
  begin(step: ExchangedStep): void;
  /** The engine has written a microbatch, of the rows that `what` names. */
  add(what: string): void;
  /** Sums over the ranks; a rank without a microbatch gives zeros. What `gradients` hold after a rejection is not defined. */
  reduce(collective: Collective, call: CollectiveCall): Promise<CollectiveStats>;
}

export interface ExchangeSettings {
  readonly bit_identical?: boolean;
}

/** The exchange of `length` gradients that the settings ask for. Takes its memory from the endpoint, alike on all ranks. */
export function createGradientExchange(
  length: number,
  endpoint: Pick<CollectiveEndpoint, "allocate">,
  { bit_identical = false }: ExchangeSettings,
): GradientExchange {
  return bit_identical
    ? createIdenticalGradients(new Float32Array(length), endpoint)
    : createPlainExchange(endpoint.allocate(length));
}

/** Float32 sums, where the gradients are. */
export function createPlainExchange(gradients: Float32Array): GradientExchange {
  let isEmpty = true;
  return {
    gradients,
    accumulates: true,
    begin: () => void (isEmpty = true),
    add: () => void (isEmpty = false),
    reduce(collective, call) {
      if (isEmpty) gradients.fill(0);
      return collective.allReduce(gradients, call);
    },
  };
}

// The masks of dropout as inputs of a compiled program: while it is traced every place in the model that asks for one
// becomes an input, and before every run these are drawn anew into one buffer, a byte per element.

import type { tf } from "../../model/tf.ts";
import { drawMask, type Draw } from "../dropout-masks.ts";
import type { Runtime, Slot } from "./runtime.ts";
import type { Trace } from "./tracing-backend.ts";

/** A mask that a program wants. */
export interface MaskPlace {
  readonly place: string;
  readonly shape: readonly number[];
  readonly rate: number;
}

/** For `Weights.mask` of a model that is being traced: `places` collects what it asks for. */
export function traceMasks(trace: Trace, places: MaskPlace[]) {
  const known = new Map<string, tf.Tensor>();
  return (place: string, shape: readonly number[], rate: number): tf.Tensor => {
    const tensor = known.get(place) ?? trace.input(inputName(place), shape, "bool");
    if (!known.has(place)) places.push({ place, shape, rate });
    known.set(place, tensor);
    return tensor;
  };
}

/** Buffers of a program's masks, and what fills them for a microbatch. */
export function createMasks(runtime: Runtime, places: readonly MaskPlace[], rows: number, seed: number) {
  const masks = places.map(({ place, shape, rate }) => {
    const data = new Uint8Array(shape.reduce((size, length) => size * length, 1));
    return { place, rate, data, slot: runtime.slot(data, shape, "bool") };
  });
  const slots: Readonly<Record<string, Slot>> = Object.fromEntries(
    masks.map(({ place, slot }) => [inputName(place), slot]),
  );
  return {
    draw(draw: Draw): Readonly<Record<string, Slot>> {
      for (const { place, rate, data } of masks) drawMask(data, { seed, place, rate, rows, draw });
      return slots;
    },
  };
}

function inputName(place: string): string {
  return `mask.${place}`;
}

// The angles of rotary position embedding: Hugging Face's rope_theta and rope_scaling (or rope_parameters), in double
// precision. Turning by them is rotary in nn.ts.

import { z } from "zod";

const factor = z.number().positive();

/** How the frequencies are stretched for sequences longer than those of the first training. */
export const ropeScalingSchema = z.discriminatedUnion("rope_type", [
  z.object({ rope_type: z.literal("default") }),
  z.object({ rope_type: z.literal("linear"), factor }),
  z.object({
    rope_type: z.literal("llama3"),
    factor,
    low_freq_factor: factor,
    high_freq_factor: factor,
    original_max_position_embeddings: factor,
  }),
]);

export type RopeScaling = Readonly<z.output<typeof ropeScalingSchema>>;

/** Angles of positions 0 to length - 1: position * frequency, [length, head / 2], as their cosines and sines. */
export function ropeAngles(
  head: number,
  length: number,
  theta: number,
  scaling: RopeScaling,
): { readonly cos: Float32Array; readonly sin: Float32Array } {
  const half = head / 2;
  const frequencies = Float64Array.from({ length: half }, (_, i) => stretched(theta ** ((-2 * i) / head), scaling));
  const angle = (i: number): number => Math.floor(i / half) * frequencies[i % half]!;
  return {
    cos: Float32Array.from({ length: length * half }, (_, i) => Math.cos(angle(i))),
    sin: Float32Array.from({ length: length * half }, (_, i) => Math.sin(angle(i))),
  };
}

/** llama3 divides low frequencies by the factor, keeps high ones, and goes from one to the other linearly between. */
function stretched(frequency: number, scaling: RopeScaling): number {
  switch (scaling.rope_type) {
    case "default":
      return frequency;
    case "linear":
      return frequency / scaling.factor;
    case "llama3": {
      const { factor, low_freq_factor: low, high_freq_factor: high, original_max_position_embeddings: old } = scaling;
      const turns = (old * frequency) / (2 * Math.PI);
      const kept = Math.min(1, Math.max(0, (turns - low) / (high - low)));
      return ((1 - kept) * frequency) / factor + kept * frequency;
    }
  }
}

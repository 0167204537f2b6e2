// A worker of a host that does nothing but update its share of the state that it has in common with its parent, when it is told
// the round: a process of its own, to be killed.

import { createRandom } from "../../common/random.ts";
import type { SharedFile } from "../../worker/collective/shared-memory/shared-memory.ts";
import { createLayout, type ParameterLayout } from "../../worker/model/parameters.ts";
import { createOptimizer, type Optimizer } from "../../worker/train/optimizer.ts";
import { createHostMemory, type HostMemory } from "../../worker/train/zero/host-memory.ts";
import { updateShare, type Share } from "../../worker/train/zero/journal.ts";
import { chunkOf } from "../../worker/collective/chunks.ts";

export const updateOptions = { learningRate: 0.01, clipFactor: 0.5 };

export const bigLayout: ParameterLayout = createLayout([
  { name: "bias", shape: [1000] },
  { name: "weight", shape: [2000, 1000] },
]);

export function gradientOf(round: number): Float32Array {
  const random = createRandom(round, "gradient");
  const values = Float32Array.from({ length: 1009 }, () => random.next() - 0.5);
  return Float32Array.from({ length: bigLayout.size }, (_, i) => values[i % 1009]!);
}

export function createUpdater(): { memory: HostMemory; optimizer: Optimizer } {
  const memory = createHostMemory();
  memory.allocate(bigLayout.size);
  const settings = { name: "adamw", beta1: 0.9, beta2: 0.999, epsilon: 1e-8, weight_decay: 0.1 } as const;
  return { memory, optimizer: createOptimizer(settings, bigLayout, memory.allocate) };
}

export function shareOf(memory: HostMemory, places: readonly Omit<Share, "arrays" | "range">[], place: number): Share {
  return { ...places[place]!, arrays: memory.arrays, range: chunkOf(place, places.length, bigLayout.size) };
}

if (process.argv[2] === "update") {
  const { memory, optimizer } = createUpdater();
  const region = memory.open(JSON.parse(process.argv[3]!) as SharedFile, 2, 0);
  region.attach();
  process.on("message", (round: number) => {
    const gradient = gradientOf(round);
    optimizer.load({ ...optimizer.state(), step: round - 1 });
    const at = optimizer.begin(updateOptions);
    process.send!("begins");
    const arrays = [memory.arrays[0]!, gradient, ...memory.arrays.slice(1)];
    // In small pieces, so slowly that it is met in the middle.
    updateShare(shareOf(memory, region.places, 1), round, ({ begin, end }) => {
      for (let piece = begin; piece < end; piece += 64)
        optimizer.update(arrays, at, { begin: piece, end: Math.min(end, piece + 64) });
    });
    process.send!("done");
  });
  process.send!("ready");
}

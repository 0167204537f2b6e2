// Everything that must be equal on all workers between two steps: the weights, the optimizer's state, the scale of the loss.
// Where it comes from (the seed, a folder, a peer), how it changes at a step, and a digest to compare it by.

import { createHash } from "node:crypto";
import { RingtuneError } from "../../common/errors.ts";
import type { FromCoordinator } from "../../proto/messages.ts";
import type { Collective } from "../collective/collective.ts";
import { initialiseParameters } from "../model/initialise.ts";
import { readBase, readCheckpoint } from "./checkpoint.ts";
import { initialLossScale, nextLossScale, smallestLossScale, unscaled, type LossScale } from "./loss-scale.ts";
import { clipFactor, createOptimizer, type OptimizerSettings, type OptimizerState } from "./optimizer.ts";
import { givenTogether, transferFromPeer, type Giving } from "./peer-transfer.ts";
import { digestOf } from "./summary.ts";
import type { TrainedWeights } from "./trained-weights.ts";
import { createDividedState, type Entered } from "./zero/divided-state.ts";
import type { HostMemory } from "./zero/host-memory.ts";

type Form = Extract<FromCoordinator, { kind: "form" }>["value"];

export interface TrainingState {
  /** Of the next step. */
  readonly lossScale: LossScale;
  /** A step whose gradients overflow is left out: a smaller scale may help, and then nobody is to blame. */
  readonly canSkip: boolean;
  /** Of the frozen weights, which change only when a generation is formed; "" without any. */
  readonly frozenDigest: string;
  optimizerState(): OptimizerState;
  /** The gradients are about to be overwritten. */
  keep(gradients: Float32Array): void;
  /**
   * All ranks call it when they have formed a generation, before anything else; `holds`: this one has what the generation
   * begins with. Returns how the state is divided, if it is.
   */
  enter(collective: Collective, step: number, holds: boolean, signal: AbortSignal): Promise<string | undefined>;
  /** As before the first step, every worker by itself. */
  seed(): void;
  /** Rank 0 reads, everybody receives: workers need no shared storage. Returns what a user should hear. */
  load(
    folder: Form["folder"] & object,
    form: Form,
    collective: Collective,
    signal: AbortSignal,
  ): Promise<readonly string[]>;
  /** From a peer that holds it to those that don't. Resolves when this worker may go on. */
  transfer(peer: Form["peer"] & object, form: Form, collective: Collective, signal: AbortSignal): Promise<Giving>;
  /** The weights are there: what does not change until the next generation is looked at once. */
  settle(): void;
  /** Applies summed gradients of norm `norm`, both times the loss scale, unless they overflow and the step can be left out. */
  apply(gradients: Float32Array, norm: number, step: { readonly learningRate: number; readonly clip: number }): void;
  /** Resolves with true when all who have the state in common have applied their part; with false when the signal aborts before. */
  applied(signal: AbortSignal): Promise<boolean>;
  /** Of all of it. */
  digest(): string;
  close(): void;
}

export interface StateOptions {
  readonly optimizer: OptimizerSettings;
  readonly seed: number;
  readonly basePath: string;
  /** Train in float16, from `firstScale`. */
  readonly scalesLoss: boolean;
  readonly firstScale?: LossScale | undefined;
  /** Where weights and optimizer state lie that workers of a host have in common: the weights are there. */
  readonly memory?: HostMemory | undefined;
}

export function createTrainingState(weights: TrainedWeights, options: StateOptions): TrainingState {
  const { model, trainable, parameters, frozen } = weights;
  const { seed, basePath, scalesLoss, firstScale = initialLossScale, memory } = options;
  const optimizer = createOptimizer(options.optimizer, trainable, memory?.allocate);
  const divided = memory && createDividedState(memory, optimizer);
  let entered: Entered | undefined;
  const startingScale = scalesLoss ? firstScale : unscaled;
  let lossScale = startingScale;
  let frozenDigest = "";

  function forgetUpdates(): void {
    // What is had in common is zeros where there is none.
    if (divided === undefined) for (const buffer of Object.values(optimizer.state().buffers)) buffer.fill(0);
    optimizer.load({ ...optimizer.state(), step: 0 });
    lossScale = startingScale;
  }

  /** What is not in the flat buffers. The optimizer has its own count of steps: those that were skipped are not in it. */
  const countsOf = (): Float64Array => Float64Array.of(optimizer.state().step, lossScale.scale, lossScale.goodSteps);

  function takeCounts([updates = 0, scale = 1, goodSteps = 0]: Float64Array): void {
    optimizer.load({ ...optimizer.state(), step: updates });
    lossScale = { scale, goodSteps };
  }

  async function read({ path, checkpoint }: Form["folder"] & object, step: number): Promise<readonly string[]> {
    if (!checkpoint) {
      if (weights.lora !== undefined) initialiseParameters(model, trainable, parameters, seed);
      return readBase(path, weights, seed);
    }
    const found = await readCheckpoint(path, { weights, optimizer, basePath });
    if (found.step !== step) {
      const both = `it holds step ${found.step}, the coordinator expects ${step}`;
      throw new RingtuneError("checkpoint_invalid", `${path}: ${both}`);
    }
    if (scalesLoss) lossScale = found.lossScale ?? firstScale;
    return [];
  }

  return {
    get lossScale() {
      return lossScale;
    },
    get canSkip() {
      return scalesLoss && lossScale.scale > smallestLossScale;
    },
    get frozenDigest() {
      return frozenDigest;
    },
    optimizerState: () => optimizer.state(),

    keep: (gradients) => divided?.keep(gradients),

    async enter(collective, step, holds, signal) {
      entered = await divided?.enter({ collective, step, holds, signal });
      return entered?.description;
    },

    seed() {
      if (entered?.isFiller !== false) initialiseParameters(model, trainable, parameters, seed);
      initialiseParameters(model, frozen.layout, frozen.parameters, seed);
      forgetUpdates();
    },

    async load(folder, { rank, step }, collective, signal) {
      forgetUpdates();
      const notices = rank === 0 ? await read(folder, step) : [];
      const counts = countsOf();
      const moments = folder.checkpoint ? Object.values(optimizer.state().buffers) : [];
      for (const [bucket, buffer] of [counts, parameters, frozen.parameters, ...moments].entries()) {
        if (buffer.length === 0) continue;
        const bytes = new Uint8Array(buffer.buffer, buffer.byteOffset, buffer.byteLength);
        await collective.broadcast(bytes, 0, { step, bucket, signal });
      }
      takeCounts(counts);
      return notices;
    },

    async transfer({ root, receivers }, { rank, step }, collective, signal) {
      const counts = countsOf();
      const common = [parameters, ...Object.values(optimizer.state().buffers)];
      // Whose host has the rest already, or gets it by way of another.
      const mates = entered === undefined ? [] : receivers.filter((each) => !entered?.fillers.includes(each));
      const others = receivers.filter((each) => !mates.includes(each));
      const call = { root, step, signal };
      const giving = givenTogether([
        transferFromPeer(collective, [counts, frozen.parameters], { ...call, receivers: mates }),
        transferFromPeer(collective, [counts, frozen.parameters, ...common], { ...call, receivers: others }),
      ]);
      if (!receivers.includes(rank)) await giving.begun;
      else {
        await giving.done;
        takeCounts(counts);
        await entered?.filled();
      }
      return giving;
    },

    settle() {
      frozenDigest = frozen.layout.size === 0 ? "" : digestOf(frozen.parameters);
    },

    apply(gradients, norm, { learningRate, clip }) {
      const overflows = !Number.isFinite(norm);
      const { scale } = lossScale;
      // All ranks hold the same gradients, so they decide the same.
      if (!(scalesLoss && overflows)) {
        const factor = clipFactor(norm / scale, clip || null) / scale;
        const options = { learningRate, clipFactor: factor };
        if (divided === undefined) optimizer.step(parameters, gradients, options);
        else divided.update(gradients, options);
      }
      if (scalesLoss) lossScale = nextLossScale(lossScale, overflows);
    },

    applied: (signal) => divided?.finished(signal) ?? Promise.resolve(true),

    digest() {
      const { step: updates, buffers } = optimizer.state();
      const parts = [parameters, ...Object.values(buffers)].map(digestOf);
      return createHash("sha256")
        .update([...parts, frozenDigest, updates, lossScale.scale, lossScale.goodSteps].join())
        .digest("hex")
        .slice(0, 16);
    },

    close: () => divided?.close(),
  };
}

// What is read of a checkpoint: a directory with a Hugging Face model or an adapter of PEFT, the optimizer's state and
// state.json, each in as many files as workers have written it (checkpoint-parts.ts). Restoring gives the same bits at any
// number of workers. Deciding when, where and which to keep is not done here.

import { stat } from "node:fs/promises";
import { join } from "node:path";
import { RingtuneError } from "../../common/errors.ts";
import { adapterFile, readAdaptedWeights, readAdapterConfig } from "../model/adapter-files.ts";
import { readModelWeights } from "../model/huggingface.ts";
import { initialiseTensor } from "../model/initialise.ts";
import { describeList, loadTensors, readTensors, type TensorTarget } from "../model/load-parameters.ts";
import type { ParameterLayout } from "../model/parameters.ts";
import { openTogether } from "../model/shards.ts";
import { adapterTensors, optimizerTensors } from "./checkpoint-parts.ts";
import { verifyCheckpoint, type CheckpointState } from "./checkpoint-state.ts";
import type { Optimizer } from "./optimizer.ts";
import { isOptimizerFile } from "./optimizer-file.ts";
import { digestOf } from "./summary.ts";
import { viewsOf, type TrainedWeights } from "./trained-weights.ts";

/**
 * Verifies every file of `directory` against state.json, then restores `weights` and `optimizer` bit for bit. The model of
 * an adapter is read from where the checkpoint says, or from `basePath`, if it is there no more.
 * Throws `checkpoint_invalid` that names the file and both sizes, digests, shapes or names. After an error the contents of
 * both are undefined.
 */
export async function readCheckpoint(
  directory: string,
  into: { readonly weights: TrainedWeights; readonly optimizer: Optimizer; readonly basePath?: string },
): Promise<CheckpointState> {
  const { weights } = into;
  const state = await verifyCheckpoint(directory);
  if (weights.lora === undefined) await readModelWeights(directory, weights.base, targetsIn(weights, weights.base));
  else await readAdapter(directory, state, weights, into.basePath);
  const { name, step } = state.optimizer;
  const { buffers } = name === into.optimizer.name ? into.optimizer.state() : { buffers: {} };
  into.optimizer.load({ name, step, buffers }); // refuses another optimizer's state
  const targets = optimizerTensors(weights.trainable, buffers).map((tensor) => ({ ...tensor, into: tensor.data }));
  const files = Object.keys(state.files).filter(isOptimizerFile);
  const all = join(directory, files.length === 1 ? files[0]! : `${files.length} files of the optimizer`);
  await readTensors(await openTogether(all, directory, files), targets);
  return state;
}

/**
 * The weights of a model directory, or of an adapter on one, into their places, without a copy; what a file of another head
 * lacks is drawn from `seed`. Gives sentences about what is not as in the file.
 */
export async function readBase(directory: string, weights: TrainedWeights, seed: number): Promise<readonly string[]> {
  const { base } = weights;
  const fresh = new Set<string>();
  const initialise = (target: TensorTarget): void => {
    initialiseTensor(base, target, target.into, seed);
    fresh.add(target.name);
  };
  const { names, notices } = await readAdaptedWeights(directory, base, targetsIn(weights, base), { initialise });
  names.forEach((name) => fresh.delete(name)); // the adapter has them
  const what = describeList("tensors of a new head", [...fresh]);
  const said = what === "" ? [] : [`${directory}: ${what} start from the seed, because the files have none`];
  return [...said, ...notices];
}

async function readAdapter(
  directory: string,
  state: CheckpointState,
  weights: TrainedWeights,
  basePath = "",
): Promise<void> {
  const { base = "" } = await readAdapterConfig(directory);
  const isThere = await stat(join(base, "config.json")).catch(() => undefined);
  const from = isThere === undefined ? basePath : base;
  await readBase(from, weights, state.seed);
  await loadTensors(
    join(directory, adapterFile),
    adapterTensors(weights).map((tensor) => ({ ...tensor, into: tensor.data })),
  );
  const found = digestOf(weights.frozen.parameters);
  if (found === state.baseDigest) return;
  throw new RingtuneError(
    "checkpoint_invalid",
    `${from} is not the model that the adapter ${directory} was trained on: its weights have digest ${found}, ${state.baseDigest} then; put the old model back`,
    { details: { directory, base: from, found, expected: state.baseDigest ?? "" } },
  );
}

function targetsIn(weights: TrainedWeights, { layout }: { readonly layout: ParameterLayout }): TensorTarget[] {
  return viewsOf(weights, layout).map(({ name, shape, data }) => ({ name, shape, into: data }));
}

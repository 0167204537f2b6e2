// Checkpoints: a directory with a Hugging Face model or an adapter of PEFT, the optimizer's state and state.json, whole or
// absent.
// Everything is written into a hidden sibling, fsynced, and renamed at the end; restoring gives the same bits.
// Deciding when, where and which to keep is not done here.

import { createHash, randomBytes } from "node:crypto";
import { mkdir, readdir, rename, rm, stat } from "node:fs/promises";
import { basename, dirname, join } from "node:path";
import { syncFolder, writeFileAtomic } from "../../common/atomic-file.ts";
import { diskError } from "../../common/disk-error.ts";
import { RingtuneError } from "../../common/errors.ts";
import {
  adapterConfigFile,
  adapterConfigJson,
  adapterFile,
  readAdaptedWeights,
  readAdapterConfig,
} from "../model/adapter-files.ts";
import { modelConfigJson, readModelWeights, specialTokensOf } from "../model/huggingface.ts";
import { initialiseTensor } from "../model/initialise.ts";
import { describeList, loadTensors, type TensorTarget } from "../model/load-parameters.ts";
import { peftPrefix } from "../model/lora.ts";
import { viewOf, type ParameterLayout } from "../model/parameters.ts";
import { encodeSafetensors, type NamedTensor } from "../model/safetensors.ts";
import { cutShards, indexFile } from "../model/shards.ts";
import { checkpointFormat, stateFile, verifyCheckpoint, type CheckpointState } from "./checkpoint-state.ts";
import type { LossScale } from "./loss-scale.ts";
import type { Optimizer, OptimizerState } from "./optimizer.ts";
import { digestOf, globalNorm } from "./summary.ts";
import { viewsOf, type TrainedWeights } from "./trained-weights.ts";

const REPLACE_ATTEMPTS = 5;

export interface CheckpointContents {
  /** Must not change until the promise is settled, nor must the buffers of `optimizer`. */
  readonly weights: TrainedWeights;
  /** Where the model is that adapters belong to; not used without adapters. */
  readonly basePath?: string;
  readonly optimizer: OptimizerState;
  readonly tokenizerJson: string;
  /** Empty when the tokenizer has none. */
  readonly tokenizerConfigJson: string;
  readonly step: number;
  /** Samples of the stream that the committed steps have consumed. */
  readonly position: number;
  readonly seed: number;
  readonly worldSize: number;
  /** Left out where losses are not scaled. */
  readonly lossScale?: LossScale;
  /** Weights beyond this are written in several files; 5 GB when left out. */
  readonly shardBytes?: number;
}

/**
 * Writes `directory`, whose parent exists; one that is there already is replaced at the end. Resolves to the total size.
 * Throws `disk_failed`, or `not_finite` for weights that are, with nothing left behind and an earlier checkpoint untouched.
 */
export async function writeCheckpoint(
  directory: string,
  contents: CheckpointContents,
): Promise<{ readonly sizeBytes: number }> {
  const { weights, optimizer, tokenizerJson, tokenizerConfigJson } = contents;
  const { base, lora, trainable, frozen } = weights;
  const temporary = join(dirname(directory), `${temporaryPrefix(directory)}${randomBytes(4).toString("hex")}.tmp`);
  try {
    assertFinite(contents.step, trainable, { weights: weights.parameters });
    await removeTemporaries(directory);
    await mkdir(temporary);
    const files: CheckpointState["files"] = {};
    const write = async (name: string, chunks: Iterable<Uint8Array>): Promise<void> => {
      const hash = createHash("sha256");
      let sizeBytes = 0;
      const counted = function* (): Generator<Uint8Array> {
        for (const chunk of chunks) {
          hash.update(chunk);
          sizeBytes += chunk.byteLength;
          yield chunk;
        }
      };
      await writeFileAtomic(join(temporary, name), counted());
      files[name] = { sizeBytes, sha256: hash.digest("hex") };
    };
    const tokens = specialTokensOf(tokenizerJson, tokenizerConfigJson);
    await write("config.json", [Buffer.from(modelConfigJson(base, tokens))]);
    await write("tokenizer.json", [Buffer.from(tokenizerJson)]);
    if (tokenizerConfigJson !== "") await write("tokenizer_config.json", [Buffer.from(tokenizerConfigJson)]);
    if (lora !== undefined) {
      await write(adapterConfigFile, [Buffer.from(adapterConfigJson(lora, contents.basePath ?? "", weights.onHub))]);
      await write(adapterFile, encodeSafetensors(adapterTensors(weights)));
    } else {
      const { shards, index } = cutShards(viewsOf(weights, base.layout), contents.shardBytes);
      for (const { file, tensors } of shards) await write(file, encodeSafetensors(tensors));
      if (index !== undefined) await write(indexFile, [Buffer.from(index)]);
    }
    assertFinite(contents.step, trainable, optimizer.buffers);
    await write("optimizer.safetensors", encodeSafetensors(optimizerTensors(trainable, optimizer.buffers)));
    const state: CheckpointState = {
      format: checkpointFormat,
      step: contents.step,
      position: contents.position,
      seed: contents.seed,
      worldSize: contents.worldSize,
      optimizer: { name: optimizer.name, step: optimizer.step },
      ...(contents.lossScale === undefined ? {} : { lossScale: contents.lossScale }),
      ...(lora === undefined ? {} : { baseDigest: digestOf(frozen.parameters) }),
      files,
    };
    await writeFileAtomic(join(temporary, stateFile), `${JSON.stringify(state, undefined, 2)}\n`);
    await replaceDirectory(temporary, directory);
    return { sizeBytes: Object.values(files).reduce((total, { sizeBytes }) => total + sizeBytes, 0) };
  } catch (error) {
    await rm(temporary, { recursive: true, force: true }).catch(() => undefined);
    throw diskError(
      `cannot write the checkpoint ${directory}`,
      unwrapped(error),
      "; earlier checkpoints are untouched",
    );
  }
}

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
  await loadTensors(join(directory, "optimizer.safetensors"), targets);
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

/** What is trained, under PEFT's names: adapters have them already, whole tensors get the prefix. */
function adapterTensors(weights: TrainedWeights): NamedTensor[] {
  return viewsOf(weights, weights.trainable).map((tensor) => ({
    ...tensor,
    name: tensor.name.startsWith(peftPrefix) ? tensor.name : peftPrefix + tensor.name,
  }));
}

function targetsIn(weights: TrainedWeights, { layout }: { readonly layout: ParameterLayout }): TensorTarget[] {
  return viewsOf(weights, layout).map(({ name, shape, data }) => ({ name, shape, into: data }));
}

/** What could not be loaded again is not written; a run stops at the next step, but this may come before it. */
function assertFinite(step: number, trainable: ParameterLayout, buffers: Readonly<Record<string, Float32Array>>): void {
  for (const [what, flat] of Object.entries(buffers)) {
    if (Number.isFinite(globalNorm(flat))) continue;
    for (const spec of trainable.specs) {
      const element = viewOf(flat, spec).findIndex((value) => !Number.isFinite(value));
      if (element === -1) continue;
      const of = what === "weights" ? "" : ` of ${what}, the optimizer's state,`;
      const found = `${viewOf(flat, spec)[element]} at element ${element} of tensor ${spec.name}`;
      throw new RingtuneError(
        "not_finite",
        `the weights after step ${step} are of no use, and their checkpoint is not written: there is ${found}${of}; lower train.learning_rate or lengthen the warmup`,
        { details: { tensor: spec.name, element } },
      );
    }
  }
}

/** Every state buffer cut up by parameter: "exp_avg.transformer.wte.weight". */
function optimizerTensors(layout: ParameterLayout, buffers: OptimizerState["buffers"]): NamedTensor[] {
  return Object.entries(buffers).flatMap(([slot, buffer]) =>
    layout.specs.map((spec) => ({ name: `${slot}.${spec.name}`, shape: spec.shape, data: viewOf(buffer, spec) })),
  );
}

/**
 * Renaming replaces files but not directories, so one that is there steps aside for a moment. Another may come in that
 * moment: a writer that was given up while it was stopped, and goes on. It holds the same weights; the last one stays.
 */
async function replaceDirectory(from: string, to: string): Promise<void> {
  const aside = `${from.slice(0, -".tmp".length)}.old.tmp`;
  for (let attempt = 1; ; attempt++) {
    const existed = await rename(to, aside).then(
      () => true,
      (error: NodeJS.ErrnoException) => {
        if (error.code === "ENOENT") return false;
        throw error;
      },
    );
    const error = await rename(from, to).then(
      () => undefined,
      (error: NodeJS.ErrnoException) => error,
    );
    if (existed) await rm(aside, { recursive: true, force: true });
    if (error === undefined) return syncFolder(dirname(to));
    if (!["ENOTEMPTY", "EEXIST"].includes(error.code ?? "") || attempt === REPLACE_ATTEMPTS) throw error;
  }
}

/** What a writer that was killed left of this very checkpoint. */
async function removeTemporaries(directory: string): Promise<void> {
  for (const name of await readdir(dirname(directory))) {
    const stale = name.startsWith(temporaryPrefix(directory)) && name.endsWith(".tmp");
    if (stale) await rm(join(dirname(directory), name), { recursive: true, force: true });
  }
}

function temporaryPrefix(directory: string): string {
  return `.${basename(directory)}.`;
}

/** The failed write of a file inside is the failed write of the checkpoint: its temporary name tells nobody anything. */
function unwrapped(error: unknown): unknown {
  return error instanceof RingtuneError && error.code === "disk_failed" ? error.cause : error;
}

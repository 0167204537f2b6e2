// How much memory it takes to load a model and to save it, above the weights themselves:
//
//   node dist/test/bench/checkpoint-memory.js FOLDER [LAYERS HIDDEN]
//
// The first call writes a model of that size (12 layers of 768: GPT-2's 124 M parameters) into FOLDER; each stage is a
// process of its own, because the peak of a process never falls again.

import { execFileSync } from "node:child_process";
import { mkdir } from "node:fs/promises";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { createModel } from "../../worker/model/architectures.ts";
import { readModelDirectory, writeModelDirectory } from "../../worker/model/huggingface.ts";
import { initialiseParameters } from "../../worker/model/initialise.ts";
import { storedTypes, type StoredType } from "../../worker/model/safetensors.ts";

export interface CheckpointMemory {
  readonly stage: string;
  readonly seconds: number;
  readonly weightsBytes: number;
  /** The largest tensor. */
  readonly tensorBytes: number;
  /** Peak resident size of the process, less what it had before it began. */
  readonly peakBytes: number;
}

const program = fileURLToPath(import.meta.url);
/** GPT-2's own. */
const vocabulary = 50257;

/** Makes the model, then loads it from each stored type and saves it again. */
export function measureCheckpointMemory(folder: string, layers: number, hidden: number): CheckpointMemory[] {
  const stages = ["make", ...storedTypes.flatMap((type) => [`load ${type}`, `load and save ${type}`])];
  return stages.flatMap((stage) => {
    const args = [program, "--stage", stage, folder, String(layers), String(hidden)];
    const printed = execFileSync(process.execPath, args, { encoding: "utf8" });
    return stage === "make" ? [] : [JSON.parse(printed) as CheckpointMemory];
  });
}

async function make(folder: string, layers: number, hidden: number): Promise<void> {
  const config = { model_type: "gpt2", vocab_size: vocabulary, n_positions: 1024 };
  const model = createModel({ ...config, n_embd: hidden, n_layer: layers, n_head: hidden / 64 }, "the benchmark");
  const parameters = new Float32Array(model.layout.size);
  initialiseParameters(model, model.layout, parameters, 1);
  for (const type of storedTypes) {
    await mkdir(join(folder, type), { recursive: true });
    await writeModelDirectory(join(folder, type), { model, parameters }, { type });
  }
}

async function measure(stage: string, folder: string): Promise<CheckpointMemory> {
  const type = stage.split(" ").at(-1) as StoredType;
  const before = process.memoryUsage().rss;
  const start = performance.now();
  const loaded = await readModelDirectory(join(folder, type));
  if (stage.includes("save")) {
    const out = join(folder, "out");
    await mkdir(out, { recursive: true });
    await writeModelDirectory(out, loaded, { type });
  }
  return {
    stage,
    seconds: (performance.now() - start) / 1000,
    weightsBytes: loaded.parameters.byteLength,
    tensorBytes: 4 * Math.max(...loaded.model.layout.specs.map(({ size }) => size)),
    peakBytes: process.resourceUsage().maxRSS * 1024 - before,
  };
}

if (process.argv[1] === program) {
  if (process.argv[2] === "--stage") {
    const [stage = "", folder = "", layers, hidden] = process.argv.slice(3);
    if (stage === "make") await make(folder, Number(layers), Number(hidden));
    else process.stdout.write(JSON.stringify(await measure(stage, folder)));
  } else {
    const [folder = "", layers = "12", hidden = "768"] = process.argv.slice(2);
    for (const { stage, seconds, weightsBytes, peakBytes } of measureCheckpointMemory(folder, +layers, +hidden)) {
      const [weights, peak] = [weightsBytes, peakBytes].map((bytes) => `${(bytes / 1e6).toFixed(0)} MB`);
      const share = (peakBytes / weightsBytes).toFixed(2);
      process.stdout.write(
        `${stage.padEnd(24)} weights ${weights}, peak ${peak} (${share}), ${seconds.toFixed(1)} s\n`,
      );
    }
  }
}

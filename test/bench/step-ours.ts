// One side of bench-step.ts: a process that takes optimizer steps as a worker does (forward, backward, gradient norm and
// digest, clipping, AdamW) and times them. Settings are its argument; a line with a number on its input is how many
// steps to take now, answered with one line of JSON; the end of the input is answered with the peak of its memory.

import { readFile } from "node:fs/promises";
import { createInterface } from "node:readline";
import { createRandom } from "../../common/random.ts";
import { createEngine } from "../../worker/engine/create-engine.ts";
import { createModel } from "../../worker/model/architectures.ts";
import { initialiseParameters } from "../../worker/model/initialise.ts";
import { clipFactor, createOptimizer } from "../../worker/train/optimizer.ts";
import { summarise } from "../../worker/train/summary.ts";
import { createTrainedWeights } from "../../worker/train/trained-weights.ts";
import type { StepSettings } from "./bench-step.ts";
// Not used, but in the memory of every worker.
import "../../worker/collective/zeromq.ts";
import "../../worker/train/session.ts";

const { layers, dim, heads, seq, vocab, batch, threads, loraRank } = JSON.parse(process.argv[2]!) as StepSettings;

const config = {
  model_type: "gpt2",
  vocab_size: vocab,
  n_positions: seq,
  n_embd: dim,
  n_layer: layers,
  n_head: heads,
};
const lora = { rank: loraRank, alpha: 2 * loraRank, rslora: false, target_modules: "all-linear" as const };
const weights = createTrainedWeights(createModel(config, "the benchmark"), loraRank === 0 ? {} : { lora });
const { model, parameters, trainable, frozen } = weights;
initialiseParameters(model, trainable, parameters, 1);
initialiseParameters(model, frozen.layout, frozen.parameters, 1);
const optimizer = createOptimizer(
  { name: "adamw", weight_decay: 0.01, beta1: 0.9, beta2: 0.999, epsilon: 1e-8 },
  trainable,
);
const engine = await createEngine({ ...weights, kind: "onnx", device: "cpu", threads });
const gradients = new Float32Array(trainable.size);
const random = createRandom(2, "bench");

/** Milliseconds. */
async function step(): Promise<number> {
  const inputIds = Int32Array.from({ length: batch * seq }, () => random.integer(vocab));
  const targets = Int32Array.from(inputIds, (_, i) => inputIds[(i + 1) % inputIds.length]!);
  const start = performance.now();
  const microbatch = { rows: batch, length: seq, inputIds, targets };
  await engine.gradients(microbatch, { weight: 1 / targets.length, accumulate: false, gradients });
  const { norm } = summarise(gradients);
  optimizer.step(parameters, gradients, { learningRate: 1e-3, clipFactor: clipFactor(norm, 1) });
  return performance.now() - start;
}

async function peakMemoryKb(): Promise<number> {
  const status = await readFile("/proc/self/status", "utf8").catch(() => "");
  return Number(/^VmHWM:\s*(\d+) kB/m.exec(status)?.[1] ?? NaN);
}

for await (const line of createInterface({ input: process.stdin })) {
  const times: number[] = [];
  for (let i = 0; i < Number(line); i++) times.push(await step());
  console.log(JSON.stringify({ times }));
}
console.log(JSON.stringify({ peakKb: await peakMemoryKb(), trained: trainable.size, total: model.layout.size }));
await engine.close();

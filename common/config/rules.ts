// Combinations of fields that can't work, each with both numbers and a way out. Single fields are checked by schema.ts;
// what depends on the machine or on files (devices, positions of a model directory) is checked where it is known.

import { deviceProblem, precisionProblem } from "../devices.ts";
import { metricsOfTask } from "../evaluation/stopping-metrics.ts";
import { isLoopback } from "../loopback.ts";
import { exchangeRules } from "./exchange-rules.ts";
import { identicalRules } from "./identical-rules.ts";
import { listOf } from "./nearest.ts";
import { architectureOf, parameterCount, resolveShape } from "./sizes.ts";
import type { Config } from "./schema.ts";
import { storeRules } from "./store-rules.ts";
import { taskRules } from "./task-rules.ts";

/** One thing that is wrong with a configuration. */
export interface Problem {
  /** The field to change. */
  readonly path: string;
  /** Without the path: "6 does not divide train.global_batch 16; ...". */
  readonly message: string;
  /** All fields that the sentence speaks of, `path` included. */
  readonly involves: readonly string[];
}

/** Every impossible combination; empty for a configuration that can run. */
export function checkRules(config: Config): Problem[] {
  return [
    ...lengthRules(config.train),
    ...batchRules(config.train, config.cluster),
    ...rateRules(config.train),
    ...optimizerRules(config.train.optimizer),
    ...stoppingRules(config),
    ...taskRules(config),
    ...modelRules(config),
    ...yearRules(config.data),
    ...deviceRules(config.cluster),
    ...precisionRules(config),
    ...adapterRules(config),
    ...identicalRules(config),
    ...exchangeRules(config),
    ...addressRules(config),
    ...timeRules(config.cluster),
    ...storeRules(config),
  ];
}

function lengthRules({ steps, epochs, warmup_steps: warmup, warmup_ratio: ratio }: Config["train"]): Problem[] {
  const problems: Problem[] = [];
  const involves = ["train.steps", "train.epochs"];
  if (steps === undefined && epochs === undefined) {
    const message = "missing, and so is train.epochs; give one of them, such as train.steps: 300";
    problems.push({ path: "train.steps", message, involves });
  }
  if (steps !== undefined && epochs !== undefined) {
    const message = `${epochs} is given together with train.steps ${steps}; give only one of them`;
    problems.push({ path: "train.epochs", message, involves });
  }
  if (ratio !== undefined && warmup > 0) {
    const path = "train.warmup_ratio";
    const message = `${ratio} is given together with train.warmup_steps ${warmup}; give only one of them`;
    problems.push({ path, message, involves: [path, "train.warmup_steps"] });
  }
  if (steps !== undefined && warmup > 0 && warmup >= steps) {
    const message = `${warmup} leaves no step after the warmup: train.steps is ${steps}; use at most ${steps - 1}`;
    problems.push({ path: "train.warmup_steps", message, involves: ["train.warmup_steps", "train.steps"] });
  }
  return problems;
}

function batchRules(train: Config["train"], { workers, min_workers: least }: Config["cluster"]): Problem[] {
  const problems: Problem[] = [];
  if (workers !== "auto" && least !== "all" && least > workers) {
    const path = "cluster.min_workers";
    const message = `${least} is more than cluster.workers ${workers}, so the run could not begin; use at most ${workers}, or all`;
    problems.push({ path, message, involves: [path, "cluster.workers"] });
  }
  const { global_batch: batch, microbatch } = train;
  if (batch % microbatch !== 0) {
    const path = "train.microbatch";
    const message = `${microbatch} does not divide train.global_batch ${batch}; ${nearestDivisors(batch, microbatch)}`;
    problems.push({ path, message, involves: [path, "train.global_batch"] });
  }
  if (workers !== "auto" && workers > batch) {
    const path = "cluster.workers";
    const message = `${workers} workers can't share train.global_batch ${batch}: some would have no sequence; use at most ${batch} workers or a larger batch`;
    problems.push({ path, message, involves: [path, "train.global_batch"] });
  }
  return problems;
}

function rateRules({ learning_rate: peak, min_learning_rate: min }: Config["train"]): Problem[] {
  if (min <= peak) return [];
  const path = "train.min_learning_rate";
  const message = `${min} is above train.learning_rate ${peak}, from which the schedule decays; use at most ${peak}`;
  return [{ path, message, involves: [path, "train.learning_rate"] }];
}

function optimizerRules(optimizer: Config["train"]["optimizer"]): Problem[] {
  if (optimizer.name !== "sgd" || !optimizer.nesterov || optimizer.momentum > 0) return [];
  const path = "train.optimizer.nesterov";
  const message = `true needs momentum to look ahead along, and train.optimizer.momentum is ${optimizer.momentum}; set it to 0.9, or nesterov to false`;
  return [{ path, message, involves: [path, "train.optimizer.momentum"] }];
}

function stoppingRules({ task, train, data }: Config): Problem[] {
  if (train.early_stopping === undefined) return [];
  const path = "train.early_stopping";
  const problems: Problem[] = [];
  const need = (field: string, value: number, why: string): void => {
    const message = `needs validations, and ${field} ${value} ${why}`;
    problems.push({ path, message, involves: [path, field] });
  };
  const { metric } = train.early_stopping;
  const metrics = metricsOfTask(task.kind);
  if (!metrics.includes(metric)) {
    const message = `${metric} is not a metric of task.kind ${task.kind}, which has ${listOf(metrics, "and")}`;
    problems.push({ path: `${path}.metric`, message, involves: [`${path}.metric`, "task.kind"] });
  }
  if (train.eval_every === 0) need("train.eval_every", 0, "has none between the steps; use 100, say");
  if (data.validation_fraction === 0) need("data.validation_fraction", 0, "keeps no text for them; use 0.05, say");
  return problems;
}

function modelRules({ model, task, tokenizer, train }: Config): Problem[] {
  if (model.from !== undefined) {
    const own = (["architecture", "size", "layers", "hidden", "heads", "positions"] as const).filter(
      (key) => model[key] !== undefined,
    );
    return own.map((key) => ({
      path: `model.${key}`,
      message: `${JSON.stringify(model[key])} can't be set together with model.from ${JSON.stringify(model.from)}, which has its own shape; remove one of them`,
      involves: [`model.${key}`, "model.from"],
    }));
  }
  const problems: Problem[] = [];
  if (model.revision !== undefined) {
    const message = `${JSON.stringify(model.revision)} is of no use without model.from, which would name a model on the Hub; set it, or remove this`;
    problems.push({ path: "model.revision", message, involves: ["model.revision", "model.from"] });
  }
  const shape = resolveShape(model);
  if (shape.hidden % shape.heads !== 0) {
    const path = "model.heads";
    const message = `${shape.heads} does not divide model.hidden ${shape.hidden}; ${nearestDivisors(shape.hidden, shape.heads)}`;
    problems.push({ path, message, involves: [path, "model.hidden", "model.size"] });
  }
  if (architectureOf({ model, task }) === "llama" && (shape.hidden / shape.heads) % 2 === 1) {
    const path = "model.heads";
    const message = `${shape.heads} heads of model.hidden ${shape.hidden} are ${shape.hidden / shape.heads} wide, which is odd; llama turns pairs, so use another number of heads`;
    problems.push({ path, message, involves: [path, "model.hidden", "model.size"] });
  }
  if (train.sequence_length > shape.positions) {
    const path = "train.sequence_length";
    const message = `${train.sequence_length} is longer than the ${shape.positions} positions of the model; use at most ${shape.positions}, or set model.positions: ${train.sequence_length}`;
    problems.push({ path, message, involves: [path, "model.positions", "model.size"] });
  }
  // Offsets in the flat parameter buffers are signed 32-bit numbers in places.
  const parameters = parameterCount(shape, tokenizer.vocab_size);
  if (parameters > 0x7fff_ffff) {
    const path = "model.hidden";
    const message = `${shape.layers} layers of width ${shape.hidden} make ${(parameters / 1e9).toFixed(1)} billion parameters; the most is 2.1 billion`;
    const involves = [path, "model.layers", "model.positions", "model.size", "tokenizer.vocab_size"];
    problems.push({ path, message, involves });
  }
  return problems;
}

function yearRules({ years, source }: Config["data"]): Problem[] {
  if (years === undefined) return [];
  const path = "data.years";
  const [first = 0, last = 0] = years;
  const problem = (message: string): Problem => ({ path, message, involves: [path, "data.source"] });
  if (![source].flat().includes("sotu")) {
    return [problem(`${JSON.stringify(years)} chooses among the addresses of sotu, which data.source does not name`)];
  }
  if (first <= last) return [];
  return [problem(`${JSON.stringify(years)} ends before it begins; write [${last}, ${first}]`)];
}

function deviceRules({ engine, device }: Config["cluster"]): Problem[] {
  const problem = deviceProblem(engine, device);
  if (problem === undefined) return [];
  const path = "cluster.device";
  return [{ path, message: `${device} ${problem}`, involves: [path, "cluster.engine"] }];
}

function precisionRules({ train: { precision }, cluster: { engine, device } }: Config): Problem[] {
  // A device that the engine does not have has its own sentence.
  if (deviceProblem(engine, device) !== undefined) return [];
  const problem = precisionProblem(precision, engine, device);
  if (problem === undefined) return [];
  const path = "train.precision";
  return [{ path, message: `${precision} ${problem}`, involves: [path, "cluster.engine", "cluster.device"] }];
}

function adapterRules({ lora, model, train }: Config): Problem[] {
  if (lora === undefined) return [];
  const problems: Problem[] = [];
  if (model.from === undefined) {
    const message = "needs a model that has learned something, and model.from names none; give its directory";
    problems.push({ path: "lora", message, involves: ["lora", "model.from"] });
  }
  if (train.freeze.length > 0) {
    const path = "train.freeze";
    const message = `${JSON.stringify(train.freeze)} is of no use with lora, which trains the adapters alone; remove it`;
    problems.push({ path, message, involves: [path, "lora"] });
  }
  return problems;
}

function addressRules({ cluster, metrics }: Config): Problem[] {
  const problems: Problem[] = [];
  if (!isLoopback(cluster.host) && cluster.certs === undefined && !cluster.insecure) {
    const path = "cluster.host";
    const message = `${JSON.stringify(cluster.host)} is beyond loopback, where others would see tokens and data and could send gradients; set cluster.certs (ringtune certs init), or cluster.insecure: true (--insecure) on a network that you trust`;
    problems.push({ path, message, involves: [path, "cluster.certs", "cluster.insecure"] });
  }
  const isGuarded = metrics.certs !== undefined && metrics.basic_auth !== undefined;
  if (metrics.enabled && !isLoopback(metrics.host) && !isGuarded && !metrics.insecure) {
    const path = "metrics.host";
    const message = `${JSON.stringify(metrics.host)} is beyond loopback, where everybody could read the metrics; set metrics.certs and metrics.basic_auth, or metrics.insecure: true (--insecure) on a network that you trust`;
    problems.push({ path, message, involves: [path, "metrics.certs", "metrics.basic_auth", "metrics.insecure"] });
  }
  if (metrics.enabled && metrics.port !== 0 && metrics.port === cluster.port) {
    const path = "metrics.port";
    const message = `${metrics.port} is cluster.port too; give them different ports, or 0 for a free one`;
    problems.push({ path, message, involves: [path, "cluster.port"] });
  }
  return problems;
}

function timeRules({ heartbeat_s: heartbeat, step_timeout_s: limit }: Config["cluster"]): Problem[] {
  if (heartbeat < limit) return [];
  const path = "cluster.heartbeat_s";
  const message = `${heartbeat} s is not below cluster.step_timeout_s ${limit} s, so every worker would seem to hang; use a tenth of it or less`;
  return [{ path, message, involves: [path, "cluster.step_timeout_s"] }];
}

/** "the nearest divisors are 4 and 8", of `total`, around `wanted`. */
function nearestDivisors(total: number, wanted: number): string {
  let below = Math.min(wanted - 1, total);
  while (total % below !== 0) below--;
  let above = wanted + 1;
  while (above <= total && total % above !== 0) above++;
  return above > total ? `the nearest divisor is ${below}` : `the nearest divisors are ${below} and ${above}`;
}

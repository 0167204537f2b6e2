// One worker's training: its weights, its optimizer, its place in the ring. Does what the tasks say, one at a time, and
// reports. It decides nothing: which rows, which rate, when to commit all come from the coordinator.

import { createHash } from "node:crypto";
import { availableParallelism } from "node:os";
import { setImmediate as newsArrives } from "node:timers/promises";
import { RingtuneError } from "../../common/errors.ts";
import type { FromCoordinator, FromWorker } from "../../proto/messages.ts";
import type { Collective, CollectiveEndpoint } from "../collective/collective.ts";
import { createEngine } from "../engine/create-engine.ts";
import type { Engine, Microbatch, Unchanged } from "../engine/engine.ts";
import { createModel } from "../model/architectures.ts";
import { labelHead, labelLosses, labelsOf, PredictionCounter } from "../evaluation/label-predictions.ts";
import { initialiseParameters } from "../model/initialise.ts";
import { targetsPerRow } from "../model/model.ts";
import { readBase, readCheckpoint } from "./checkpoint.ts";
import { createSaver } from "./checkpoint-saver.ts";
import { createPartWriter } from "./checkpoint-writer.ts";
import { createIdenticalGradients } from "./identical-gradients.ts";
import { initialLossScale, nextLossScale, smallestLossScale, unscaled } from "./loss-scale.ts";
import { LossTotal } from "./loss-total.ts";
import { clipFactor, createOptimizer, globalNorm, type OptimizerSettings } from "./optimizer.ts";
import { transferFromPeer } from "./peer-transfer.ts";
import { digestOfSamples } from "./sample-digest.ts";
import { microbatchesOf } from "./shard.ts";
import { digestOf, summarise } from "./summary.ts";
import { createTrainedWeights, describeTraining, engineTraining, type TrainingSettings } from "./trained-weights.ts";

type Message<K extends FromCoordinator["kind"]> = Extract<FromCoordinator, { kind: K }>["value"];

export interface Report {
  send(message: FromWorker): void;
  /** What the worker is doing now, for the coordinator's sentences. */
  doing(sentence: string, inCollective?: boolean): void;
  /** Something that was under way beside the tasks has failed: this worker has to leave. */
  fail(error: Error): void;
}

export interface PlanContext {
  readonly waitedSeconds: number;
  /** Aborts when the generation is over. */
  readonly signal: AbortSignal;
  /** Resolves when the step is committed. */
  readonly committed: (step: number) => Promise<void>;
}

/** What a worker keeps when it loses its coordinator; see Holding in the protocol. */
export type Holding = Omit<NonNullable<Extract<FromWorker, { kind: "join" }>["value"]["holding"]>, "jobId">;

export interface Trainer {
  holding(): Holding;
  /** Makes the engine, so that nobody waits for it when this worker enters a generation. */
  prepare(task: Message<"prepare">): Promise<void>;
  form(form: Message<"form">, signal: AbortSignal): Promise<void>;
  runPlan(plan: Message<"plan">, context: PlanContext): Promise<void>;
  evaluate(task: Message<"evaluate">): Promise<void>;
  /** Resolves when this worker's part is copied; it is written while training goes on. */
  save(task: Message<"save">, signal: AbortSignal): Promise<void>;
  /** Resolves when nothing is being written. */
  written(): Promise<void>;
  /** Tells the coordinator that the ring broke; a new generation will be formed. */
  interrupted(reason: string): void;
  close(): Promise<void>;
}

/** What of a plan decides the gradients of a shard. */
type ShardPlan = Pick<Message<"plan">, "shard" | "microbatch" | "step" | "firstRow" | "globalTokens" | "batchRows">;

const neverAborts = new AbortController().signal;

/** `firstScale` is where loss scaling starts, and `writer` what writes checkpoints, for tests. */
export function createTrainer(
  welcome: Message<"welcome">,
  endpoint: CollectiveEndpoint,
  report: Report,
  { firstScale = initialLossScale, writer = createPartWriter() } = {},
): Trainer {
  const settings = JSON.parse(welcome.trainingJson) as TrainingSettings;
  const weights = createTrainedWeights(
    createModel(JSON.parse(welcome.modelConfigJson), "the coordinator's model config"),
    settings,
  );
  const { model, trainable, parameters, frozen } = weights;
  const isIdentical = settings.bit_identical ?? false;
  // Those of one microbatch, when not they but integers are reduced.
  const gradients = isIdentical ? new Float32Array(trainable.size) : endpoint.allocate(trainable.size);
  const integers = isIdentical ? createIdenticalGradients(gradients, endpoint) : undefined;
  const optimizerSettings = JSON.parse(welcome.optimizerJson) as OptimizerSettings;
  const optimizer = createOptimizer(optimizerSettings, trainable);
  const { baseModelPath: basePath, tokenizerJson, tokenizerConfigJson } = welcome;
  const saver = createSaver(weights, { basePath, tokenizerJson, tokenizerConfigJson }, { report, writer });
  let engine: Engine | undefined;
  let collective: Collective | undefined;
  /** What the coordinator should print, said with the next `formed`. */
  const notices: string[] = [];
  /** How gradients travel, as the user was told. */
  let toldPath = "";
  /** Whether the engine has read the frozen weights since they were written. */
  let knowsFrozen = false;
  /** The last generation that was begun. */
  let generation = 0;
  /** The weights are all of one step; not before there are any, nor while those of another arrive. */
  let whole = false;
  /** The step whose summed gradient is in `gradients`, to be applied. */
  let reduced: Holding["reduced"] = null;
  /** Steps in the weights; of those that were skipped, nothing but their place. */
  let step = 0;
  const scalesLoss = settings.precision === "fp16";
  let lossScale = scalesLoss ? firstScale : unscaled;

  /** Of the frozen weights, which change only when a generation is formed. */
  let frozenDigest = "";

  /** Of everything that must be equal on all workers: weights and optimizer state. */
  const stateDigest = (): string => {
    const { step: updates, buffers } = optimizer.state();
    const parts = [parameters, ...Object.values(buffers)].map(digestOf);
    return createHash("sha256")
      .update([...parts, frozenDigest, updates, lossScale.scale, lossScale.goodSteps].join())
      .digest("hex")
      .slice(0, 16);
  };

  async function makeEngine(localWorldSize: number): Promise<Engine> {
    const threads = welcome.threads || Math.max(1, Math.floor(availableParallelism() / (localWorldSize || 1)));
    engine ??= await createEngine({
      kind: welcome.engine === "tfjs" ? "tfjs" : "onnx",
      device: welcome.device,
      ...{ model, parameters, trainable, frozen },
      training: engineTraining(settings, welcome.seed),
      threads,
    });
    return engine;
  }

  const ready = (): { engine: Engine; collective: Collective } => {
    if (engine === undefined || collective === undefined) {
      throw new RingtuneError("internal", "the coordinator sent a task before it formed a generation");
    }
    return { engine, collective };
  };

  const cut = (shard: Message<"plan">["shard"], rows: number): Microbatch[] =>
    microbatchesOf(shard, rows, shard === null ? 0 : targetsPerRow(model.head, shard.length));

  /** What is not in the flat buffers. The optimizer has its own count of steps: those that were skipped are not in it. */
  const countsOf = (): Float64Array => Float64Array.of(optimizer.state().step, lossScale.scale, lossScale.goodSteps);

  function takeCounts([updates = 0, scale = 1, goodSteps = 0]: Float64Array): void {
    optimizer.load({ ...optimizer.state(), step: updates });
    lossScale = { scale, goodSteps };
  }

  /** Rank 0 reads, everybody receives: workers need no shared storage. */
  async function loadFrom(folder: Message<"form">["folder"] & object, form: Message<"form">, signal: AbortSignal) {
    const { collective } = ready();
    const state = optimizer.state();
    forgetUpdates();
    if (form.rank === 0) {
      if (folder.checkpoint) {
        const checkpoint = await readCheckpoint(folder.path, { weights, optimizer, basePath });
        if (checkpoint.step !== form.step) {
          const both = `it holds step ${checkpoint.step}, the coordinator expects ${form.step}`;
          throw new RingtuneError("checkpoint_invalid", `${folder.path}: ${both}`);
        }
        if (scalesLoss) lossScale = checkpoint.lossScale ?? firstScale;
      } else {
        if (weights.lora !== undefined) initialiseParameters(model, trainable, parameters, welcome.seed);
        notices.push(...(await readBase(folder.path, weights, welcome.seed)));
      }
    }
    const counts = countsOf();
    const buffers = [counts, parameters, frozen.parameters, ...(folder.checkpoint ? Object.values(state.buffers) : [])];
    for (const [bucket, buffer] of buffers.entries()) {
      if (buffer.length === 0) continue;
      const bytes = new Uint8Array(buffer.buffer, buffer.byteOffset, buffer.byteLength);
      await collective.broadcast(bytes, 0, { step: form.step, bucket, signal });
    }
    takeCounts(counts);
  }

  /** Within a step nothing is written to the weights, and to the frozen ones only when a generation is formed. */
  function unchangedBefore(microbatch: number): Unchanged | undefined {
    const unchanged = microbatch > 0 ? "all" : knowsFrozen ? "frozen" : undefined;
    knowsFrozen = true;
    return unchanged;
  }

  async function shardGradients(engine: Engine, plan: ShardPlan, signal: AbortSignal): Promise<LossTotal> {
    const total = new LossTotal(isIdentical);
    const weight = lossScale.scale / plan.globalTokens;
    const microbatches = cut(plan.shard, plan.microbatch);
    let { firstRow } = plan;
    integers?.begin({ microbatches: Math.ceil(plan.batchRows / plan.microbatch), scale: lossScale.scale });
    for (const [index, batch] of microbatches.entries()) {
      // The engine computes on this thread: only between microbatches can the news come that the generation is over.
      await newsArrives();
      signal.throwIfAborted();
      const result = await engine.gradients(batch, {
        weight,
        draw: { step: plan.step, firstRow },
        gradients,
        accumulate: index > 0 && !isIdentical,
        more: index < microbatches.length - 1 && !isIdentical,
        unchanged: unchangedBefore(index),
      });
      total.add(result, batch.rows);
      integers?.add(`rows ${firstRow} to ${firstRow + batch.rows - 1} of step ${plan.step}`);
      firstRow += batch.rows;
    }
    if (microbatches.length === 0) gradients.fill(0);
    return total;
  }

  /** The rows of the shard whose gradients are not finite by themselves, a microbatch at a time. Overwrites `gradients`. */
  async function rowsNotFinite(engine: Engine, plan: Message<"plan">, signal: AbortSignal): Promise<number[]> {
    const found: number[] = [];
    let start = 0;
    for (const batch of cut(plan.shard, plan.microbatch)) {
      await newsArrives();
      signal.throwIfAborted();
      const draw = { step: plan.step, firstRow: plan.firstRow + start };
      const weight = lossScale.scale / plan.globalTokens;
      await engine.gradients(batch, { weight, gradients, draw, accumulate: false, unchanged: "all" });
      if (!Number.isFinite(globalNorm(gradients))) for (let i = 0; i < batch.rows; i++) found.push(start + i);
      start += batch.rows;
    }
    return found;
  }

  /** As before the first step. */
  function forgetUpdates(): void {
    for (const buffer of Object.values(optimizer.state().buffers)) buffer.fill(0);
    optimizer.load({ ...optimizer.state(), step: 0 });
    lossScale = scalesLoss ? firstScale : unscaled;
  }

  return {
    holding: () => ({ ready: engine !== undefined, generation, whole, step, reduced }),

    async prepare({ localWorldSize, shard, microbatch }) {
      report.doing("making its engine");
      const engine = await makeEngine(localWorldSize);
      // The first run of a shape compiles it. What it gives is overwritten by the first step.
      const batchRows = shard?.rows ?? 0;
      const globalTokens = Math.max(1, batchRows * (shard?.length ?? 0));
      const trial = { shard, microbatch, step: 0, firstRow: 0, globalTokens, batchRows };
      await shardGradients(engine, trial, neverAborts);
      report.send({ kind: "prepared", value: {} });
      report.doing("waiting for the next step boundary");
    },

    async form(form, signal) {
      report.doing(`forming generation ${form.generation}`, true);
      knowsFrozen = false;
      generation = form.generation;
      whole &&= Boolean(form.held) || form.peer?.keeps === true;
      await collective?.close();
      collective = await endpoint.form({
        jobId: welcome.jobId,
        generation: form.generation,
        rank: form.rank,
        endpoints: form.members.map(({ ringEndpoint }) => ringEndpoint),
      });
      if (engine === undefined && form.rank === 0) notices.push(describeTraining(weights));
      const { description, why, gpuUuid } = await makeEngine(form.localWorldSize);
      if (form.seed) {
        initialiseParameters(model, trainable, parameters, welcome.seed);
        initialiseParameters(model, frozen.layout, frozen.parameters, welcome.seed);
        step = 0;
        forgetUpdates();
      } else if (form.folder) {
        await loadFrom(form.folder, form, signal);
        step = form.step;
      } else if (form.peer) {
        const state = optimizer.state();
        const counts = countsOf();
        const buffers = [counts, parameters, frozen.parameters, ...Object.values(state.buffers)];
        await transferFromPeer(collective, buffers, { ...form.peer, step: form.step, signal });
        if (!form.peer.keeps) {
          takeCounts(counts);
          step = form.step;
        }
      }
      whole = true;
      await collective.barrier({ step: form.step, bucket: 0, signal });
      if (form.rank === 0 && collective.path !== toldPath) notices.push(`gradients: ${(toldPath = collective.path)}`);
      frozenDigest = frozen.layout.size === 0 ? "" : digestOf(frozen.parameters);
      report.send({
        kind: "formed",
        value: {
          generation: form.generation,
          step,
          engine: description,
          engineWhy: [...why],
          gpuUuid: gpuUuid ?? "",
          parameters: trainable.size,
          digest: stateDigest(),
          notices: notices.splice(0),
        },
      });
      report.doing("waiting for a plan");
    },

    async runPlan(plan, { waitedSeconds, signal, committed }) {
      const { engine, collective } = ready();
      report.doing(`computing step ${plan.step}`);
      const start = performance.now();
      const { lossSum, tokens, notFiniteRows } = await shardGradients(engine, plan, signal);
      await newsArrives();
      signal.throwIfAborted();
      const computed = performance.now();
      report.doing(`reducing step ${plan.step}`, true);
      const call = { step: plan.step, bucket: 0, signal };
      const { bytesSent, seconds } = await (integers?.reduce(collective, call) ??
        collective.allReduce(gradients, call));
      const { norm, digest } = summarise(gradients);
      const { scale } = lossScale;
      const gradientNorm = norm / scale;
      const overflows = !Number.isFinite(norm);
      // A smaller scale may help, and then nobody is to blame.
      const canSkip = scalesLoss && scale > smallestLossScale;
      if (overflows && !canSkip && notFiniteRows.length === 0) {
        // Of the sum; whose part of it? Nothing will be committed, so the gradients are free to be computed again.
        report.doing(`looking for what is not finite in step ${plan.step}`);
        notFiniteRows.push(...(await rowsNotFinite(engine, plan, signal)));
      }
      report.send({
        kind: "reduced",
        value: {
          generation: plan.generation,
          step: plan.step,
          lossSum,
          tokens,
          gradientNorm,
          digest,
          times: {
            dataSeconds: waitedSeconds,
            computeSeconds: (computed - start) / 1000,
            allReduceSeconds: seconds,
          },
          bytesSent,
          notFiniteRows,
          ...digestOfSamples(cut(plan.shard, plan.microbatch)),
        },
      });
      report.doing(`waiting for the commit of step ${plan.step}`);
      reduced = { generation: plan.generation, step: plan.step, digest };
      try {
        await committed(plan.step);
      } finally {
        reduced = null;
      }
      const applying = performance.now();
      // All ranks hold the same gradients, so they decide the same.
      if (!(scalesLoss && overflows)) {
        const factor = clipFactor(gradientNorm, plan.clip || null) / scale;
        optimizer.step(parameters, gradients, { learningRate: plan.learningRate, clipFactor: factor });
      }
      if (scalesLoss) lossScale = nextLossScale(lossScale, overflows);
      step = plan.step;
      const applySeconds = (performance.now() - applying) / 1000;
      report.send({
        kind: "applied",
        value: {
          generation: plan.generation,
          step,
          seconds: applySeconds,
          digest: plan.verify ? stateDigest() : "",
        },
      });
    },

    async evaluate(task) {
      const { engine } = ready();
      report.doing(`validating step ${task.step}`);
      const total = new LossTotal(isIdentical);
      // One forward pass gives the predictions and, from the same few logits, the loss.
      const head = labelHead(model);
      const counter = head && new PredictionCounter(head, labelsOf(model, head));
      for (const [index, batch] of cut(task.shard, task.microbatch).entries()) {
        const unchanged = unchangedBefore(index);
        if (head === undefined) total.add(await engine.loss(batch, { unchanged }), batch.rows);
        else {
          const logits = await engine.logits(batch, { unchanged });
          total.add(labelLosses(head, logits, batch), batch.rows);
          counter?.add(logits, batch);
        }
      }
      const { lossSum, tokens, notFiniteRows } = total;
      const counts = counter?.counts ?? null;
      const value = { generation: task.generation, step: task.step, lossSum, tokens, notFiniteRows, counts };
      report.send({ kind: "evaluated", value });
    },

    save(task, signal) {
      const { seed } = welcome;
      const worldSize = collective?.worldSize ?? 1;
      const scale = scalesLoss ? { lossScale } : {};
      const base = weights.lora === undefined ? {} : { baseDigest: frozenDigest };
      return saver.save(task, { optimizer: optimizer.state(), facts: { seed, worldSize, ...scale, ...base } }, signal);
    },

    written: () => saver.written(),

    interrupted(reason) {
      report.doing(`waiting for a new generation`, true);
      const generation = collective?.generation ?? 0;
      report.send({ kind: "interrupted", value: { generation, step: step + 1, reason } });
    },

    async close() {
      await saver.close();
      await collective?.close();
      await engine?.close();
      await endpoint.close();
    },
  };
}

// One worker's training: its weights, its optimizer, its place in the ring. Does what the tasks say, one at a time, and
// reports. It decides nothing: which rows, which rate, when to commit all come from the coordinator.

import { availableParallelism } from "node:os";
import { RingtuneError } from "../../common/errors.ts";
import type { FromCoordinator, FromWorker } from "../../proto/messages.ts";
import type { Collective, CollectiveEndpoint } from "../collective/collective.ts";
import { createEngine } from "../engine/create-engine.ts";
import type { Engine } from "../engine/engine.ts";
import { createModel } from "../model/architectures.ts";
import { createSaver } from "./checkpoint-saver.ts";
import { createPartWriter, type PartWriter } from "./checkpoint-writer.ts";
import { evaluateShard } from "./evaluating.ts";
import { createGradientExchange } from "./gradient-exchange.ts";
import { createLocalSteps, outerOptimizer } from "./local-steps.ts";
import type { LossScale } from "./loss-scale.ts";
import { measureLinks } from "./measure-links.ts";
import type { OptimizerSettings } from "./optimizer.ts";
import type { ReducerClient } from "./overlap/reducer-client.ts";
import { given } from "./peer-transfer.ts";
import { shardGradients, type Computing } from "./shard-gradients.ts";
import { computeStep } from "./step.ts";
import { summarise } from "./summary.ts";
import { createTrainedWeights, describeTraining, engineTraining, type TrainingSettings } from "./trained-weights.ts";
import { createTrainingState } from "./training-state.ts";
import { createHostMemory } from "./zero/host-memory.ts";

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

const neverAborts = new AbortController().signal;

export interface TrainerOptions {
  /** Where loss scaling starts. */
  readonly firstScale?: LossScale;
  /** What writes checkpoints. */
  readonly writer?: PartWriter;
  /** What reduces gradients while others are computed; left out, nothing does. */
  readonly startReducer?: (() => ReducerClient) | undefined;
}

export function createTrainer(
  welcome: Message<"welcome">,
  endpoint: CollectiveEndpoint,
  report: Report,
  { firstScale, writer = createPartWriter(), startReducer }: TrainerOptions = {},
): Trainer {
  const settings = JSON.parse(welcome.trainingJson) as TrainingSettings;
  const memory = settings.zero === 1 ? createHostMemory() : undefined;
  const weights = createTrainedWeights(
    createModel(JSON.parse(welcome.modelConfigJson), "the coordinator's model config"),
    settings,
    memory?.allocate,
  );
  const { model, trainable, parameters, frozen } = weights;
  const exactly = settings.bit_identical ?? false;
  const exchange = createGradientExchange(trainable, endpoint, settings, startReducer);
  const { baseModelPath: basePath, tokenizerJson, tokenizerConfigJson } = welcome;
  const optimizer = JSON.parse(welcome.optimizerJson) as OptimizerSettings;
  const outer = outerOptimizer(settings);
  const local = outer && createLocalSteps(weights, optimizer);
  const state = createTrainingState(weights, {
    optimizer: outer ?? optimizer,
    seed: welcome.seed,
    basePath,
    scalesLoss: settings.precision === "fp16",
    firstScale,
    memory,
  });
  const saver = createSaver(weights, { basePath, tokenizerJson, tokenizerConfigJson }, { report, writer });
  let engine: Engine | undefined;
  let collective: Collective | undefined;
  /** What the coordinator should print, said with the next `formed` or `applied`. */
  const notices: string[] = [];
  /** How gradients travel, as the user was told. */
  let toldPath = "";
  /** How the state is divided, as the user was told. */
  let toldDivision: string | undefined;
  /** Whether the engine has read the frozen weights since they were written. */
  let knowsFrozen = false;
  /** The last generation that was begun. */
  let generation = 0;
  /** The weights are all of one step; not before there are any, nor while those of another arrive. */
  let whole = false;
  /** To whoever lacked these weights: until it is done they must not change. */
  let giving = given;
  /** The step whose summed gradient is in `gradients`, to be applied. */
  let reduced: Holding["reduced"] = null;
  /** Steps in the weights; of those that were skipped, nothing but their place. */
  let step = 0;

  async function makeEngine(localWorldSize: number): Promise<Engine> {
    const threads = welcome.threads || Math.max(1, Math.floor(availableParallelism() / (localWorldSize || 1)));
    engine ??= await createEngine({
      kind: welcome.engine === "tfjs" ? "tfjs" : "onnx",
      device: welcome.device,
      ...{ model, parameters, trainable, frozen },
      training: engineTraining(settings, welcome.seed),
      ...(exchange.buckets === undefined ? {} : { groups: exchange.buckets.map(({ tensors }) => tensors) }),
      threads,
    });
    return engine;
  }

  const ready = (): { computing: Computing; collective: Collective } => {
    if (engine === undefined || collective === undefined) {
      throw new RingtuneError("internal", "the coordinator sent a task before it formed a generation");
    }
    return { computing: computingOn(engine), collective };
  };

  const computingOn = (engine: Engine): Computing => ({
    engine,
    model,
    // Within a step nothing is written to the weights, and to the frozen ones only when a generation is formed.
    unchangedBefore(microbatch) {
      const unchanged = microbatch > 0 ? "all" : knowsFrozen ? "frozen" : undefined;
      knowsFrozen = true;
      return unchanged;
    },
  });

  return {
    holding: () => ({ ready: engine !== undefined, generation, whole, step, reduced }),

    async prepare({ localWorldSize, shard, microbatch }) {
      report.doing("making its engine");
      const engine = await makeEngine(localWorldSize);
      // The first run of a shape compiles it. What it gives is overwritten by the first step.
      const batchRows = shard?.rows ?? 0;
      const globalTokens = Math.max(1, batchRows * (shard?.length ?? 0));
      const trial = { shard, microbatch, step: 0, firstRow: 0, globalTokens, batchRows };
      const options = { scale: state.lossScale.scale, exactly, signal: neverAborts };
      await shardGradients(computingOn(engine), exchange, trial, options);
      // What else a step takes is compiled at its first use, too. What is had in common is not this worker's to try it on.
      const { norm } = summarise(exchange.gradients);
      if (memory === undefined) state.apply(exchange.gradients, norm, { learningRate: 0, clip: 0 });
      state.digest();
      if (memory === undefined) state.seed();
      report.send({ kind: "prepared", value: { gpuUuid: engine.gpuUuid ?? "" } });
      report.doing("waiting for the next step boundary");
    },

    async form(form, signal) {
      report.doing(`forming generation ${form.generation}`, true);
      knowsFrozen = false;
      generation = form.generation;
      const receives = form.peer?.receivers.includes(form.rank) === true;
      whole &&= Boolean(form.held) || (form.peer !== null && !receives);
      giving = given;
      await exchange.leave?.();
      state.keep(exchange.gradients);
      await collective?.close();
      const membership = {
        ...{ jobId: welcome.jobId, generation: form.generation, rank: form.rank },
        endpoints: form.members.map(({ ringEndpoint }) => ringEndpoint),
      };
      collective = await endpoint.form(membership);
      if (engine === undefined && form.rank === 0) notices.push(describeTraining(weights));
      const { description, why, gpuUuid, ready } = await makeEngine(form.localWorldSize);
      if (form.seed || form.folder || receives) {
        exchange.forget?.();
        local?.forget();
      }
      const division = await state.enter(collective, form.step, whole && step === form.step, signal);
      if (form.rank === 0 && division !== toldDivision) notices.push(`weights and optimizer state: ${(toldDivision = division)}`); // prettier-ignore
      if (form.seed) {
        state.seed();
        step = 0;
      } else if (form.folder) {
        notices.push(...(await state.load(form.folder, form, collective, signal)));
        step = form.step;
      } else if (form.peer) {
        if (receives) report.doing(`receiving the weights of step ${form.step} from rank ${form.peer.root}`, true);
        giving = await state.transfer(form.peer, form, collective, signal);
        if (receives) step = form.step;
      }
      whole = true;
      const links = form.measureLinks ? await measureLinks(collective, { step: form.step, signal }) : [];
      const call = { step: form.step, bucket: 0, signal };
      const agreed = exchange.form?.({ collective, membership, ready }, call);
      agreed?.catch(() => undefined); // `reduce` is told, too.
      // Who goes on training finds out when it reduces whether the others are there.
      if (form.seed || form.folder) {
        await agreed;
        await collective.barrier(call);
      }
      state.settle();
      report.send({
        kind: "formed",
        value: {
          generation: form.generation,
          step,
          engine: description,
          engineWhy: [...why],
          gpuUuid: gpuUuid ?? "",
          links,
          parameters: trainable.size,
          digest: state.digest(),
          notices: notices.splice(0),
        },
      });
      report.doing("waiting for a plan");
    },

    async runPlan(plan, { waitedSeconds, signal, committed }) {
      const { computing, collective } = ready();
      // Local steps change the weights before they are committed.
      if (local) await giving.done;
      const { norm, vote } = await computeStep(computing, { exchange, collective, local }, plan, {
        ...{ scale: state.lossScale.scale, canSkip: state.canSkip, exactly, waitedSeconds, signal },
        doing: (sentence, inCollective) => report.doing(sentence, inCollective),
      });
      await giving.done;
      report.send({ kind: "reduced", value: vote });
      report.doing(`waiting for the commit of step ${plan.step}`);
      reduced = { generation: plan.generation, step: plan.step, digest: vote.digest };
      try {
        await committed(plan.step);
      } finally {
        reduced = null;
      }
      const applying = performance.now();
      const learningRate = plan.learningRates[0] ?? 0;
      const rates = outer ? { learningRate: outer.learning_rate, clip: 0 } : { learningRate, clip: plan.clip };
      state.apply(exchange.gradients, norm, rates);
      exchange.commit?.(Number.isFinite(norm));
      local?.commit();
      // What others have not applied yet this worker can, so it holds the step.
      step = plan.step;
      const isApplied = await state.applied(signal);
      const applySeconds = (performance.now() - applying) / 1000;
      // How gradients travel is known when they have.
      const path = collective.path + (exchange.how ?? "");
      if (collective.rank === 0 && path !== toldPath) notices.push(`gradients: ${(toldPath = path)}`);
      report.send({
        kind: "applied",
        value: {
          generation: plan.generation,
          step,
          seconds: applySeconds,
          digest: plan.verify && isApplied ? state.digest() : "",
          notices: notices.splice(0),
        },
      });
    },

    async evaluate(task) {
      const { computing } = ready();
      report.doing(`validating step ${task.step}`);
      report.send({ kind: "evaluated", value: await evaluateShard(computing, task, exactly) });
    },

    save(task, signal) {
      const { seed } = welcome;
      const worldSize = collective?.worldSize ?? 1;
      const scale = settings.precision === "fp16" ? { lossScale: state.lossScale } : {};
      const base = weights.lora === undefined ? {} : { baseDigest: state.frozenDigest };
      const facts = { seed, worldSize, ...scale, ...base };
      return saver.save(task, { optimizer: state.optimizerState(), facts }, signal);
    },

    written: () => saver.written(),

    interrupted(reason) {
      report.doing(`waiting for a new generation`, true);
      const generation = collective?.generation ?? 0;
      report.send({ kind: "interrupted", value: { generation, step: step + 1, reason } });
    },

    async close() {
      await saver.close();
      await exchange.close?.();
      await collective?.close();
      await engine?.close();
      state.close();
      await endpoint.close();
    },
  };
}

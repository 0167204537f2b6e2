// How fast the compiled engine computes forward and backward of one microbatch, and where the time goes by operator (--profile), or
// what it costs that the graph says which gradients are there (--signals; docs/overlap.md).
// Run after `npm run build`: node dist/test/bench/engine-step.js [--threads 1 --steps 20 --batch 8 --seq 128 --device cpu --profile]
// The default model is the one of PyTorch's peer ddp_gpt.py. Times are minima and medians over the steps.

import { mkdtemp, readdir, readFile, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { parseArgs } from "node:util";
import { createRandom } from "../../common/random.ts";
import type { Engine, Microbatch } from "../../worker/engine/engine.ts";
import { createOnnxEngine } from "../../worker/engine/onnx/engine.ts";
import { createHost } from "../../worker/engine/onnx/host.ts";
import { selectProvider } from "../../worker/engine/onnx/providers.ts";
import { loadRuntime } from "../../worker/engine/onnx/runtime.ts";
import { createGpt2 } from "../../worker/model/gpt2.ts";
import { parseGpt2Config } from "../../worker/model/gpt2-config.ts";
import { median } from "../../common/median.ts";
import { planBuckets } from "../../worker/train/overlap/buckets.ts";

const defaults = { layers: 4, dim: 256, heads: 8, seq: 128, vocab: 4096, batch: 8, steps: 20, threads: 1 };
type Settings = typeof defaults & { device: string };

interface ProfileEvent {
  readonly cat: string;
  readonly name: string;
  /** Microseconds. */
  readonly ts: number;
  readonly dur: number;
  readonly args?: { op_name?: string; input_type_shape?: Record<string, number[]>[] };
}

function readSettings(): Settings & { profile: boolean; shapes: boolean; signals: boolean } {
  const numbers = Object.fromEntries(Object.keys(defaults).map((name) => [name, { type: "string" as const }]));
  const flag = { type: "boolean" as const, default: false };
  const device = { type: "string" as const, default: "cpu" };
  const { values } = parseArgs({ options: { ...numbers, device, profile: flag, shapes: flag, signals: flag } });
  const settings = Object.fromEntries(
    Object.entries(defaults).map(([name, value]) => [name, Number((values as Record<string, unknown>)[name] ?? value)]),
  ) as typeof defaults;
  const { profile, shapes, signals } = values;
  return { ...settings, device: values.device, profile, shapes, signals };
}

async function openEngine(
  settings: Settings,
  options: { readonly profilePrefix?: string; readonly groups?: readonly (readonly string[])[] } = {},
): Promise<Engine> {
  const config = parseGpt2Config(
    {
      model_type: "gpt2",
      vocab_size: settings.vocab,
      n_positions: settings.seq,
      n_embd: settings.dim,
      n_layer: settings.layers,
      n_head: settings.heads,
    },
    "the command line",
  );
  const model = createGpt2(config);
  const random = createRandom(1, "bench");
  const parameters = new Float32Array(model.layout.size);
  for (const { name, offset, size } of model.layout.specs) {
    const norm = /ln_[12f]\.weight$/.test(name);
    for (let i = offset; i < offset + size; i++) parameters[i] = norm ? 1 : 0.02 * random.normal();
  }
  const runtime = await loadRuntime();
  const selection = await selectProvider(settings.device, createHost(runtime.backends));
  return createOnnxEngine(runtime, { model, parameters, selection, threads: settings.threads, ...options });
}

function randomBatch({ batch: rows, seq: length, vocab }: Settings): Microbatch {
  const random = createRandom(2, "bench");
  const inputIds = Int32Array.from({ length: rows * length }, () => random.integer(vocab));
  return { rows, length, inputIds, targets: Int32Array.from(inputIds, (_, i) => inputIds[(i + 1) % inputIds.length]!) };
}

async function timeSteps(engine: Engine, batch: Microbatch, steps: number, accumulate: boolean): Promise<number[]> {
  const gradients = new Float32Array(engine.layout.size);
  const times: number[] = [];
  for (let i = 0; i < steps + 2; i++) {
    const start = performance.now();
    await engine.gradients(batch, { weight: 1 / batch.targets.length, accumulate, gradients });
    if (i >= 2) times.push(performance.now() - start);
  }
  return times.sort((a, b) => a - b);
}

function report(name: string, times: readonly number[], tokens: number): void {
  const [least, median] = [times[0]!, times[times.length >> 1]!];
  const rate = Math.round((1000 * tokens) / median);
  console.log(`${name.padEnd(28)} min ${least.toFixed(1)} ms, median ${median.toFixed(1)} ms, ${rate} tokens/s`);
}

/** Steps of an engine that says when the gradients of each eighth of the model are there, and of one that does not, in turns. */
async function compareSignals(settings: Settings): Promise<void> {
  const plain = await openEngine(settings);
  const { layout } = plain;
  const groups = planBuckets(layout, layout.size / 2).map(({ tensors }) => tensors);
  const signalling = await openEngine(settings, { groups });
  const batch = randomBatch(settings);
  const gradients = new Float32Array(layout.size);
  const step = async (engine: Engine): Promise<number> => {
    const start = performance.now();
    await engine.gradients(batch, { weight: 1 / batch.targets.length, accumulate: false, gradients });
    return performance.now() - start;
  };
  await step(plain);
  await step(signalling);
  const more: number[] = [];
  const without: number[] = [];
  for (let i = 0; i < settings.steps; i++) {
    // First the one, then the other: whoever is second finds the processor as the first left it.
    const [a, b] = i % 2 === 0 ? [plain, signalling] : [signalling, plain];
    const times = new Map([[a, await step(a)]]);
    times.set(b, await step(b));
    without.push(times.get(plain)!);
    more.push(times.get(signalling)! - times.get(plain)!);
  }
  const tensors = layout.specs.length;
  const [cost, least, most] = [median(more), ...quartiles(more)];
  const perTensor = (ms: number): string => ((1000 * ms) / tensors).toFixed(1);
  console.log(
    `signals of ${tensors} tensors in ${groups.length} buckets: ${cost.toFixed(3)} ms more than ${median(without).toFixed(2)}, ` +
      `${perTensor(cost)} us a tensor (quartiles ${perTensor(least)} to ${perTensor(most)}), ${settings.steps} steps`,
  );
  await plain.close();
  await signalling.close();
}

function quartiles(values: readonly number[]): [number, number] {
  const sorted = values.toSorted((a, b) => a - b);
  return [sorted[sorted.length >> 2]!, sorted[(3 * sorted.length) >> 2]!];
}

/** Milliseconds per step by operator, from ONNX Runtime's own profile. */
async function profile(settings: Settings, byShape: boolean): Promise<void> {
  const folder = await mkdtemp(join(tmpdir(), "ringtune-profile-"));
  try {
    const engine = await openEngine(settings, { profilePrefix: join(folder, "step") });
    await timeSteps(engine, randomBatch(settings), settings.steps, false);
    await engine.close();
    const [file] = await readdir(folder);
    const events = JSON.parse(await readFile(join(folder, file!), "utf8")) as ProfileEvent[];
    // The least time of each node over all steps, because the machine may be busy with other things too.
    const nodes = new Map<string, { key: string; ms: number }>();
    let scanned = 0;
    for (const { cat, name, ts, dur, args } of events.toSorted((a, b) => a.ts - b.ts)) {
      if (cat !== "Node" || args?.op_name === undefined || ts < scanned) continue; // Nodes within a Scan are its own.
      if (args.op_name === "Scan") scanned = ts + dur;
      const shapes = (args.input_type_shape ?? []).map((shape) => Object.values(shape).join().replaceAll(",", "x"));
      const key = byShape ? [args.op_name, ...shapes].join(" ") : args.op_name;
      nodes.set(name, { key, ms: Math.min(dur / 1000, nodes.get(name)?.ms ?? Infinity) });
    }
    const totals = new Map<string, { ms: number; calls: number }>();
    for (const { key, ms } of nodes.values()) {
      const total = totals.get(key) ?? { ms: 0, calls: 0 };
      totals.set(key, { ms: total.ms + ms, calls: total.calls + 1 });
    }
    const rows = [...totals].sort(([, a], [, b]) => b.ms - a.ms);
    const all = rows.reduce((sum, [, { ms }]) => sum + ms, 0);
    const width = byShape ? 60 : 28;
    console.log(`\n${"operator".padEnd(width)}    ms/step  calls  share`);
    for (const [name, { ms, calls }] of [...rows.slice(0, 50), ["all", { ms: all, calls: nodes.size }] as const]) {
      const columns = [
        ms.toFixed(2).padStart(10),
        String(calls).padStart(6),
        ((100 * ms) / all).toFixed(1).padStart(6),
      ];
      console.log(`${name.padEnd(width)} ${columns.join(" ")}%`);
    }
  } finally {
    await rm(folder, { recursive: true });
  }
}

const settings = readSettings();
const engine = await openEngine(settings);
const batch = randomBatch(settings);
console.log(`${engine.description}, ${engine.layout.size} parameters, ${settings.batch} x ${settings.seq} tokens`);
const started = performance.now();
await engine.gradients(batch, { weight: 1, accumulate: false, gradients: new Float32Array(engine.layout.size) });
console.log(`first step with tracing ${(performance.now() - started).toFixed(0)} ms`);
const tokens = batch.targets.length;
report("forward and backward", await timeSteps(engine, batch, settings.steps, false), tokens);
report("the same, accumulating", await timeSteps(engine, batch, settings.steps, true), tokens);
await engine.close();
if (settings.signals) await compareSignals(settings);
if (settings.profile || settings.shapes) await profile(settings, settings.shapes);

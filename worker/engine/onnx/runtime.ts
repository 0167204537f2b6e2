// ONNX Runtime: the one place that loads it. A program is a graph that runs on typed arrays in place: inputs are read
// where they are and outputs are written where the caller wants them.

import type { InferenceSession, Tensor } from "onnxruntime-node";
import { assert, describeError, RingtuneError } from "../../../common/errors.ts";
import type { Dtype, Shape } from "./graph.ts";
import type { Provider } from "./host.ts";
import { executionProviders } from "./probe.ts";

/** A typed array as ONNX Runtime sees it, made once and used for many runs. */
export type Slot = Tensor;

export interface Program {
  /** Computes the outputs into the slots of `outputs`. */
  run(inputs: Readonly<Record<string, Slot>>, outputs: Readonly<Record<string, Slot>>): Promise<void>;
  /**
   * Computes the outputs into new slots: on the device those that the program was loaded to keep there, whose memory is
   * the caller's to dispose of; the others in new typed arrays.
   */
  compute(inputs: Readonly<Record<string, Slot>>): Promise<Readonly<Record<string, Slot>>>;
  close(): Promise<void>;
}

export interface RuntimeOptions {
  readonly provider: Provider;
  /** Threads within one operator, the caller's included. */
  readonly threads: number;
  /** Outputs that stay on the device (WebGPU only). A program that keeps some has no `run`, only `compute`. */
  readonly keep?: readonly string[];
  /** Writes ONNX Runtime's own profile (Chrome trace JSON) to files with this prefix, complete after close. */
  readonly profilePrefix?: string;
}

export interface Runtime {
  readonly version: string;
  /** Execution providers that this build of ONNX Runtime knows; their libraries and GPUs may be missing. */
  readonly backends: readonly string[];
  slot(data: Float32Array | Int32Array | Uint8Array, shape: Shape, dtype: Exclude<Dtype, "bfloat16">): Slot;
  load(model: Uint8Array, options: RuntimeOptions): Promise<Program>;
}

/** Loads onnxruntime-node; throws RingtuneError `engine_unavailable` when its native library does not load. */
export async function loadRuntime(): Promise<Runtime> {
  let ort: typeof import("onnxruntime-node");
  try {
    ort = await import("onnxruntime-node");
  } catch (cause) {
    throw new RingtuneError(
      "engine_unavailable",
      `onnxruntime-node does not load on ${process.platform}-${process.arch}: ${describeError(cause)}; ` +
        `reinstall it (npm rebuild onnxruntime-node) or choose engine: tfjs`,
      { cause },
    );
  }
  const { InferenceSession, Tensor, env, listSupportedBackends } = ort;
  let loaded = 0;
  return {
    version: env.versions.node ?? "unknown",
    backends: listSupportedBackends().map(({ name }) => name),
    slot: (data, shape, dtype) => new Tensor(dtype, data, [...shape]),
    load: async (model, options) => {
      // Two sessions that begin in the same second would write one profile.
      const { profilePrefix } = options;
      const named =
        profilePrefix === undefined ? options : { ...options, profilePrefix: `${profilePrefix}-${loaded++}` };
      return createProgram(await InferenceSession.create(model, sessionOptions(named)), named);
    },
  };
}

function sessionOptions({
  provider,
  threads,
  keep = [],
  profilePrefix,
}: RuntimeOptions): InferenceSession.SessionOptions {
  return {
    executionProviders: executionProviders(provider),
    intraOpNumThreads: threads,
    interOpNumThreads: 1,
    executionMode: "sequential",
    graphOptimizationLevel: "all",
    // Planned from the first run, which has its own blocks in the arena by then: both would stay for good.
    enableMemPattern: provider.name !== "cpu",
    logSeverityLevel: 3,
    // Attention probabilities underflow; arithmetic on denormals is many times slower.
    extra: { session: { set_denormal_as_zero: "1" } },
    ...(keep.length === 0
      ? {}
      : { preferredOutputLocation: Object.fromEntries(keep.map((name) => [name, "gpu-buffer" as const])) }),
    ...(profilePrefix === undefined ? {} : { enableProfiling: true, profileFilePrefix: profilePrefix }),
  };
}

function createProgram(session: InferenceSession, { keep = [], profilePrefix }: RuntimeOptions): Program {
  return {
    run: async (inputs, outputs) => {
      // With outputs on the device, ONNX Runtime leaves preallocated ones unwritten.
      assert(keep.length === 0, `a program that keeps ${keep.length} outputs on the device was run into arrays`);
      const copies = await session.run(inputs, outputs);
      free(Object.values(copies), Object.values(outputs));
    },
    compute: (inputs) => session.run(inputs),
    close: async () => {
      if (profilePrefix !== undefined) session.endProfiling();
      await session.release();
    },
  };
}

const closed = new MessageChannel().port1;
closed.close();

/**
 * Frees the memory of `copies`, except what they share with `own`, at once and not with the next garbage collection:
 * onnxruntime-node copies every output once more, preallocated or not, which is as much as all gradients. What is
 * transferred to a closed port is gone.
 */
function free(copies: readonly Slot[], own: readonly Slot[]): void {
  const bufferOf = ({ data }: Slot): ArrayBufferLike => (data as Float32Array).buffer;
  const kept = new Set(own.map(bufferOf));
  const buffers = new Set(copies.map((copy) => bufferOf(copy) as ArrayBuffer).filter((buffer) => !kept.has(buffer)));
  closed.postMessage(undefined, [...buffers]);
}

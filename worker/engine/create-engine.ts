// From a choice (which engine, which device, which model) to an engine, or the reason why there is none.

import { assert } from "../../common/errors.ts";
import type { EngineWeights } from "./engine-weights.ts";
import type { Engine } from "./engine.ts";
import { createOnnxEngine } from "./onnx/engine.ts";
import { createHost } from "./onnx/host.ts";
import { selectProvider } from "./onnx/providers.ts";
import { loadRuntime } from "./onnx/runtime.ts";
import { selectTfjsBackend } from "./tfjs/backends.ts";
import { createTfjsEngine } from "./tfjs/engine.ts";
import type { WithTraining } from "./training-options.ts";

/** What computes, and the model with its weights, of which some may be frozen. */
export interface EngineOptions extends EngineWeights, WithTraining {
  /** "onnx" is the compiled engine, "tfjs" runs TensorFlow.js's own backends. */
  readonly kind: "onnx" | "tfjs";
  /** "" or "auto" for the best there is; else one of common/devices.ts that the engine has. */
  readonly device?: string;
  /** Threads of the compiled engine; TensorFlow.js's backends choose their own. */
  readonly threads: number;
  /** Names of trained tensors whose gradients another thread waits for; see Engine.ready. */
  readonly groups?: readonly (readonly string[])[];
}

/**
 * Throws RingtuneError `no_device` for a device that the engine does not have, `engine_unavailable` when what it runs on
 * does not load, `config_invalid` for training options that it or the model can't have.
 */
export async function createEngine(options: EngineOptions): Promise<Engine> {
  const { kind, threads } = options;
  const device = options.device === undefined || options.device === "" ? "auto" : options.device;
  assert(Number.isInteger(threads) && threads >= 1, `${threads} is not a number of threads`);
  switch (kind) {
    case "onnx": {
      const runtime = await loadRuntime();
      const selection = await selectProvider(device, createHost(runtime.backends));
      return createOnnxEngine(runtime, { ...options, selection });
    }
    case "tfjs":
      return createTfjsEngine(options, await selectTfjsBackend(device));
  }
}

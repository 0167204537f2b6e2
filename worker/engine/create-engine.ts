// From a choice (which engine, which device, which model) to an engine, or the reason why there is none.

import { assert, RingtuneError } from "../../common/errors.ts";
import type { EngineWeights } from "./engine-weights.ts";
import type { Engine } from "./engine.ts";
import { createOnnxEngine } from "./onnx/engine.ts";
import { loadRuntime } from "./onnx/runtime.ts";
import { selectTfjsBackend } from "./tfjs/backends.ts";
import { createTfjsEngine } from "./tfjs/engine.ts";

/** What computes, and the model with its weights, of which some may be frozen. */
export interface EngineOptions extends EngineWeights {
  /** "onnx" is the compiled engine, "tfjs" runs TensorFlow.js's own backends. */
  readonly kind: "onnx" | "tfjs";
  /**
   * "" or "auto" for the best there is. onnx has "cpu"; tfjs has "gpu" (tfjs-node-gpu), "node" (tfjs-node), "wasm" and
   * "cpu".
   */
  readonly device?: string;
  /** Threads of the compiled engine; TensorFlow.js's backends choose their own. */
  readonly threads: number;
}

/**
 * Throws RingtuneError `no_device` for a device that the engine does not have, `engine_unavailable` when what it runs on
 * does not load.
 */
export async function createEngine(options: EngineOptions): Promise<Engine> {
  const { kind, threads } = options;
  const device = options.device === undefined || options.device === "" ? "auto" : options.device;
  assert(Number.isInteger(threads) && threads >= 1, `${threads} is not a number of threads`);
  switch (kind) {
    case "onnx": {
      if (device !== "auto" && device !== "cpu") {
        throw new RingtuneError(
          "no_device",
          `the onnx engine has no device ${device}: it runs on cpu in this version`,
          {
            details: { engine: kind, device },
          },
        );
      }
      return createOnnxEngine(await loadRuntime(), options);
    }
    case "tfjs":
      return createTfjsEngine(options, await selectTfjsBackend(device));
  }
}

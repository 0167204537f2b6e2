// From a choice (which engine, which device, which model) to an engine, or the reason why there is none.

import { assert, RingtuneError } from "../../common/errors.ts";
import type { Gpt2Config } from "../model/gpt2-config.ts";
import { createGpt2 } from "../model/gpt2.ts";
import type { LanguageModel } from "../model/language-model.ts";
import type { Engine } from "./engine.ts";
import { createOnnxEngine } from "./onnx/engine.ts";
import { loadRuntime } from "./onnx/runtime.ts";
import { selectTfjsBackend } from "./tfjs/backends.ts";
import { createTfjsEngine } from "./tfjs/engine.ts";

export type ModelChoice = { readonly type: "gpt2"; readonly config: Gpt2Config };

export interface EngineOptions {
  /** "onnx" is the compiled engine, "tfjs" runs TensorFlow.js's own backends. */
  readonly kind: "onnx" | "tfjs";
  /**
   * "" or "auto" for the best there is. onnx has "cpu"; tfjs has "gpu" (tfjs-node-gpu), "node" (tfjs-node), "wasm" and
   * "cpu".
   */
  readonly device?: string;
  readonly model: ModelChoice;
  /** The weights, flat, in the order of the model's layout; the engine reads them at every call and never writes. */
  readonly parameters: Float32Array;
  /** Threads of the compiled engine; TensorFlow.js's backends choose their own. */
  readonly threads: number;
}

/**
 * Throws RingtuneError `no_device` for a device that the engine does not have, `engine_unavailable` when what it runs on
 * does not load.
 */
export async function createEngine(options: EngineOptions): Promise<Engine> {
  const { kind, parameters, threads } = options;
  const device = options.device === undefined || options.device === "" ? "auto" : options.device;
  const model = createModel(options.model);
  const { size } = model.layout;
  assert(parameters.length === size, `${parameters.length} parameters were given, ${model.name} has ${size}`);
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
      return createOnnxEngine(await loadRuntime(), { model, parameters, threads });
    }
    case "tfjs":
      return createTfjsEngine({ model, parameters, backend: await selectTfjsBackend(device) });
  }
}

function createModel(choice: ModelChoice): LanguageModel {
  return createGpt2(choice.config);
}

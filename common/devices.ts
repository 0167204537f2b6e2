// The names of devices and which engine has which: what a configuration may say. Whether a device is there is found out
// by the worker (worker/engine/onnx/providers.ts, worker/engine/tfjs/backends.ts).

import { createRequire } from "node:module";
import { dirname, join } from "node:path";

export type EngineKind = "onnx" | "tfjs";

/** ONNX Runtime's execution providers. */
export const providerNames = ["cpu", "webgpu", "cuda", "tensorrt", "coreml", "dml"] as const;
export type ProviderName = (typeof providerNames)[number];

/** TensorFlow.js's backends: tfjs-node-gpu, tfjs-node, wasm and cpu. */
export const backendNames = ["gpu", "node", "wasm", "cpu"] as const;

/** Providers of which a machine may have several, told apart by a number: cuda:1. */
const numbered: readonly string[] = ["webgpu", "cuda", "tensorrt"] satisfies ProviderName[];

export const deviceNames = ["auto", ...new Set<string>([...providerNames, ...backendNames])];
export const numberedDevice = new RegExp(`^(${numbered.join("|")}):(0|[1-9][0-9]?)$`);

const devices: Readonly<Record<EngineKind, readonly string[]>> = {
  onnx: ["auto", ...providerNames],
  tfjs: ["auto", ...backendNames],
};

/** What matrix products compute in. */
export const precisions = ["fp32", "fp16", "bf16"] as const;
export type Precision = (typeof precisions)[number];

/** Providers with kernels for bfloat16. */
const bf16Providers: readonly ProviderName[] = ["cuda", "tensorrt"];

export interface Device {
  readonly name: string;
  /** The number behind the colon, or undefined. */
  readonly index: number | undefined;
}

/** "cuda:1" as cuda and 1; what is not a device comes back as a name without a number. */
export function parseDevice(text: string): Device {
  const [, name, index] = numberedDevice.exec(text) ?? [];
  return name === undefined ? { name: text, index: undefined } : { name, index: Number(index) };
}

/** Why `engine` can't have `device` on any machine, as the end of a sentence that begins with the device. */
export function deviceProblem(engine: EngineKind, device: string): string | undefined {
  const { name, index } = parseDevice(device);
  if (devices[engine].includes(name)) {
    if (name !== "webgpu" || index === undefined || index === 0) return undefined;
    return `can't be chosen: ONNX Runtime takes the GPU that the graphics driver lists first; use webgpu, or cuda:${index} for an NVIDIA GPU`;
  }
  const own = `engine ${engine} has ${devices[engine].join(", ")}`;
  const other = engine === "onnx" ? "tfjs" : "onnx";
  if (!devices[other].includes(name)) return `is not a device; ${own}`;
  return `is a device of engine ${other}; ${own}; use one of those, or engine: ${other}`;
}

/**
 * Why `engine` can't compute in `precision` on `device`, as the end of a sentence that begins with the precision. What "auto"
 * stands for, and whether a GPU has float16, is found out by the worker.
 */
export function precisionProblem(precision: Precision, engine: EngineKind, device: string): string | undefined {
  if (precision === "fp32") return undefined;
  if (engine === "tfjs") return "can't be computed by engine tfjs, which has float32 alone; use engine: onnx, or fp32";
  const { name } = parseDevice(device);
  if (precision === "fp16" || name === "auto" || bf16Providers.some((provider) => provider === name)) return undefined;
  return `can't be computed by device ${device}: ${bf16Providers.join(" and ")} have bfloat16; use one of those, or fp32`;
}

/**
 * ONNX Runtime's library for NVIDIA GPUs, which `make setup-cuda` puts there; undefined where there is none for this
 * platform or onnxruntime-node is not installed.
 */
export function cudaLibraryPath(platform: string = process.platform, arch: string = process.arch): string | undefined {
  if (platform !== "linux" || arch !== "x64") return undefined;
  try {
    const entry = createRequire(import.meta.url).resolve("onnxruntime-node/package.json");
    return join(dirname(entry), "bin/napi-v6/linux/x64/libonnxruntime_providers_cuda.so");
  } catch {
    return undefined;
  }
}

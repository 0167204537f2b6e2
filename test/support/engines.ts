// The engines that must agree, one of each kind that every machine has; webgpu where there is a Vulkan driver (webgpu.ts).

import { hasVulkanDriver } from "./webgpu.ts";

export interface EngineChoice {
  readonly kind: "onnx" | "tfjs";
  readonly device: string;
  readonly threads: number;
}

export const hasWebgpu = hasVulkanDriver(process.env);

export const withoutWebgpu = "webgpu is not tested here: no Vulkan driver (make setup-system installs SwiftShader)";

export const contractEngines: readonly EngineChoice[] = [
  { kind: "onnx", device: "cpu", threads: 1 },
  { kind: "onnx", device: "cpu", threads: 2 },
  ...(hasWebgpu ? [{ kind: "onnx" as const, device: "webgpu", threads: 1 }] : []),
  { kind: "tfjs", device: "wasm", threads: 1 },
  { kind: "tfjs", device: "cpu", threads: 1 },
];

/** GPUs add what has the same index in any order, so their sums differ in the last digits from run to run. */
export function repeatsExactly({ device }: EngineChoice): boolean {
  return device !== "webgpu";
}

// Which of ONNX Runtime's execution providers computes: the one that was asked for, or the best that is really there, and
// in words why it is not a better one. Facts about the machine come from host.ts; a provider that looks right is tried
// in a process of its own (probe.ts) before the worker loads its driver.

import { basename } from "node:path";
import { deviceProblem, parseDevice, type ProviderName } from "../../../common/devices.ts";
import { RingtuneError } from "../../../common/errors.ts";
import { gpuDeviceFile, type Host, type Provider } from "./host.ts";

export interface Selection {
  readonly provider: Provider;
  /** For logs: "cuda:1 (NVIDIA H100 80GB HBM3)". */
  readonly description: string;
  /** Why providers that "auto" prefers were not taken, best first; empty for a device that was asked for by name. */
  readonly why: readonly string[];
  /** Of an NVIDIA GPU, where it is known which. */
  readonly gpuUuid?: string;
}

/** What was found out about one provider: how to call it, or why it can't be used. */
type Finding =
  | { readonly kind: "usable"; readonly description: string; readonly gpuUuid?: string }
  | { readonly kind: "unusable"; readonly reason: string };

const preferred: readonly ProviderName[] = ["cuda", "webgpu"];

/**
 * The provider for `device` (see common/devices.ts). "auto" is CUDA, then WebGPU on a real GPU, then the CPU.
 * Throws RingtuneError `no_device` when the device is unknown, is not there or does not work.
 */
export async function selectProvider(device: string, host: Host): Promise<Selection> {
  if (device === "auto") return selectBest(host);
  const problem = deviceProblem("onnx", device);
  if (problem !== undefined) throw noDevice(device, `${device} ${problem}`);
  const { name, index = 0 } = parseDevice(device);
  const provider = { name: name as ProviderName, index };
  const finding = await examine(provider, host, false);
  if (finding.kind === "unusable") throw noDevice(device, `device ${device} can't be used: ${finding.reason}`);
  return selected(provider, finding, []);
}

async function selectBest(host: Host): Promise<Selection> {
  const why: string[] = [];
  for (const name of preferred) {
    const provider = { name, index: 0 };
    const finding = await examine(provider, host, true);
    if (finding.kind === "usable") return selected(provider, finding, why);
    why.push(`not ${name}: ${finding.reason}`);
  }
  return { provider: { name: "cpu", index: 0 }, description: "cpu", why };
}

function selected(
  provider: Provider,
  { kind: _, ...found }: Extract<Finding, { kind: "usable" }>,
  why: string[],
): Selection {
  return { provider, ...found, why };
}

async function examine(provider: Provider, host: Host, realGpu: boolean): Promise<Finding> {
  const { name } = provider;
  if (name === "cpu") return usable("cpu");
  if (!host.backends.includes(name)) return unusable(`onnxruntime-node has none for ${host.platform}`);
  switch (name) {
    case "cuda":
    case "tensorrt":
      return examineNvidia(provider, host);
    case "webgpu":
      return examineWebgpu(provider, host, realGpu);
    case "coreml":
    case "dml": {
      const result = await host.probe(provider);
      return result.kind === "works" ? usable(name) : unusable(sentenceOf(result.reason));
    }
  }
}

async function examineNvidia(provider: Provider, host: Host): Promise<Finding> {
  const { name, index } = provider;
  const found = await host.nvidiaGpus();
  if (found.kind === "unknown") {
    // In some containers there is a GPU and no nvidia-smi.
    const hasDevice = host.deviceFiles?.some((path) => /nvidia|dxg/.test(path));
    if (!hasDevice) return unusable(`no NVIDIA GPU (${found.reason})`);
  } else if (index >= found.gpus.length) {
    const visible = host.environment["CUDA_VISIBLE_DEVICES"];
    const where = visible === undefined ? "nvidia-smi lists" : `with CUDA_VISIBLE_DEVICES=${visible} CUDA sees`;
    return unusable(`${where} ${found.gpus.length} GPUs${index > 0 ? ", numbered from 0" : ""}`);
  }
  if (!host.hasCudaLibrary) return unusable("ONNX Runtime's CUDA library is not installed (make setup-cuda)");
  const result = await host.probe(provider);
  if (result.kind === "fails") return unusable(sentenceOf(result.reason));
  const gpu = found.kind === "known" ? found.gpus[index] : undefined;
  return gpu === undefined ? usable(`${name}:${index}`) : usable(`${name}:${index} (${gpu.name})`, gpu.uuid);
}

async function examineWebgpu(provider: Provider, host: Host, realGpu: boolean): Promise<Finding> {
  const { deviceFiles, vulkanDrivers } = host;
  if (realGpu && deviceFiles?.length === 0) return unusable("no graphics device (/dev/dri, /dev/nvidia0)");
  if (vulkanDrivers?.length === 0) return unusable("no Vulkan driver is installed");
  const software = vulkanDrivers?.map(softwareName);
  if (realGpu && software?.every((driver) => driver !== undefined)) return unusable(computesOnCpu(software[0]));
  const result = await host.probe(provider);
  if (result.kind === "fails") return unusable(sentenceOf(result.reason));
  // The adapter does not say what it is. The driver of a GPU holds the GPU's device file open, a software driver none.
  if (deviceFiles === undefined || result.opened.some((path) => gpuDeviceFile.test(path))) {
    return usable("webgpu", await onlyNvidiaGpu(result.opened, host));
  }
  const driver = result.opened.map(softwareName).find((name) => name !== undefined);
  if (realGpu) return unusable(computesOnCpu(driver));
  return usable(`webgpu (${driver ?? "a software driver"}, on the CPU)`);
}

/** WebGPU does not say which GPU it took: it is known where there is one NVIDIA GPU and the driver opened such a device. */
async function onlyNvidiaGpu(opened: readonly string[], host: Host): Promise<string | undefined> {
  if (!opened.some((path) => /^\/dev\/nvidia\d+$/.test(path))) return undefined;
  const found = await host.nvidiaGpus();
  return found.kind === "known" && found.gpus.length === 1 ? found.gpus[0]?.uuid : undefined;
}

/** The driver that computes Vulkan on the CPU, told from its library or description file; undefined for any other. */
function softwareName(path: string): string | undefined {
  const name = basename(path);
  if (/swiftshader/i.test(name)) return "SwiftShader";
  return /^(lvp_icd|libvulkan_lvp)/.test(name) ? "llvmpipe" : undefined;
}

function computesOnCpu(driver = "a software driver"): string {
  return `the only Vulkan adapter is ${driver}, which computes on the CPU`;
}

/** ONNX Runtime's message without the source file and the signature that it begins with. */
function sentenceOf(message: string): string {
  if (message.includes("No supported adapters")) {
    return "no Vulkan adapter (it needs libvulkan1 and the GPU's Vulkan driver)";
  }
  const line = message.split("\n").find((text) => text.trim() !== "") ?? "it does not say why";
  return line
    .replace(/^\/onnxruntime_src\/.*?( was false\.|\[ONNXRuntimeError\] :)/, "")
    .trim()
    .slice(0, 300);
}

function usable(description: string, gpuUuid?: string): Finding {
  return { kind: "usable", description, ...(gpuUuid === undefined ? {} : { gpuUuid }) };
}

function unusable(reason: string): Finding {
  return { kind: "unusable", reason };
}

function noDevice(device: string, message: string): RingtuneError {
  return new RingtuneError("no_device", message, { details: { engine: "onnx", device } });
}

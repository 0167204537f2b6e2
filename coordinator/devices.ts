// How many workers a host gets and which GPU each: one for each NVIDIA GPU that the configured device can use, or else one for
// each adapter that WebGPU can. A worker is pinned by its environment, so it sees one GPU and can take no other. What a worker
// then computes on is its own decision (worker/engine/onnx/providers.ts).

import { existsSync } from "node:fs";
import { createRequire } from "node:module";
import type { Config } from "../common/config/schema.ts";
import { cudaLibraryPath, parseDevice } from "../common/devices.ts";
import { listNvidiaGpus } from "../common/nvidia.ts";
import { listRocmGpus, type RocmGpus } from "../common/rocm.ts";
import { pinTo, worthwhile } from "../common/vulkan-adapters.ts";
import { listAdapters, type Adapters } from "./adapters.ts";

export interface DevicePlan {
  readonly workers: number;
  /** Variables to add to the environment of worker `index`. */
  readonly environment: (index: number) => Readonly<Record<string, string>>;
  /** Sentences that a person should see. */
  readonly notices: readonly string[];
}

/** Of the configuration. */
export interface Wanted {
  readonly cluster: Pick<Config["cluster"], "workers" | "engine" | "device" | "share_devices">;
  readonly train: Pick<Config["train"], "global_batch">;
}

export interface Installed {
  /** ONNX Runtime's library for CUDA. */
  readonly cuda: boolean;
  /** @tensorflow/tfjs-node-gpu */
  readonly tfjsGpu: boolean;
}

/** Other GPUs than NVIDIA's. */
export interface OtherGpus {
  readonly adapters: (environment: NodeJS.ProcessEnv) => Promise<Adapters>;
  readonly rocm: (environment: NodeJS.ProcessEnv) => Promise<RocmGpus>;
}

const others: OtherGpus = { adapters: listAdapters, rocm: listRocmGpus };

/**
 * Resolves, whatever the machine has: without a list of GPUs there is one worker, or as many as configured. Workers that
 * are not launched from here run where they were started, on what they find there.
 */
export async function planDevices(
  { cluster, train }: Wanted,
  launch = true,
  environment: NodeJS.ProcessEnv = process.env,
  installed: Installed = findInstalled(),
  other: OtherGpus = others,
): Promise<DevicePlan> {
  const wanted = cluster.workers === "auto" ? undefined : cluster.workers;
  const unpinned = (...notices: string[]): DevicePlan => ({ workers: wanted ?? 1, environment: () => ({}), notices });
  if (!launch) return unpinned();
  const spread = (pins: readonly Pin[], all: string): DevicePlan => {
    const most = cluster.share_devices ? Infinity : pins.length;
    const workers = Math.min(wanted ?? Math.min(pins.length, train.global_batch), most);
    const notices: string[] = [];
    if (wanted === undefined && workers < pins.length) {
      notices.push(`using ${workers} of ${all}: train.global_batch ${train.global_batch} has no sequence for more`);
    }
    if (wanted !== undefined && wanted > workers) {
      const rule = "cluster.share_devices lets more share them";
      notices.push(`starting ${workers} of ${wanted} workers, one for each of ${all}; ${rule}`);
    }
    if (workers > pins.length) notices.push(`${workers} workers share ${all}`);
    return { workers, environment: (index) => pins[index % pins.length] ?? {}, notices };
  };
  const notices: string[] = [];
  const found = canSpread(cluster) ? await listNvidiaGpus(environment) : undefined;
  if (found?.kind === "known" && found.gpus.length > 0) {
    const { gpus } = found;
    const all = `${gpus.length} NVIDIA GPUs`;
    const isUsable = cluster.device !== "auto" || (cluster.engine === "onnx" ? installed.cuda : installed.tfjsGpu);
    const pins = gpus.map(({ uuid }) => ({ CUDA_VISIBLE_DEVICES: uuid }));
    if (isUsable) return spread(pins, all);
    const command = cluster.engine === "onnx" ? "make setup-cuda" : "make setup-tfjs-gpu";
    if (gpus.length > 1 && wanted === undefined) {
      notices.push(`${all} are here, but what uses them is not installed (${command})`);
    }
  }
  const choice = mayUseWebgpu(cluster) ? await chooseAdapters(environment, other) : { pins: [], notices: [] };
  notices.push(...choice.notices);
  if (choice.pins.length > 1) {
    const plan = spread(choice.pins, `${choice.pins.length} WebGPU adapters`);
    return { ...plan, notices: [...notices, ...plan.notices] };
  }
  const one = wanted === undefined && notices.length > 0 ? "; starting one worker" : "";
  return unpinned(...notices.map((notice, index) => (index === notices.length - 1 ? notice + one : notice)));
}

/** Variables of a worker that is to see one GPU. */
type Pin = Readonly<Record<string, string>>;

/** A pin for each adapter that is worth a worker. AMD's are cut down to what the variables of ROCm leave, as a scheduler sets them. */
async function chooseAdapters(
  environment: NodeJS.ProcessEnv,
  other: OtherGpus,
): Promise<{ readonly pins: readonly Pin[]; readonly notices: readonly string[] }> {
  const found = await other.adapters(environment);
  if (found.kind === "one") return { pins: [], notices: [] };
  if (found.kind === "unknown") {
    return { pins: [], notices: [`several graphics devices are here, and WebGPU takes the first: ${found.reason}`] };
  }
  const rocm = await other.rocm(environment);
  const amd = rocm.kind === "known" ? rocm.gpus : undefined;
  const isHidden = (environment["ROCR_VISIBLE_DEVICES"] ?? environment["HIP_VISIBLE_DEVICES"]) !== undefined;
  const chosen = worthwhile(found.adapters).flatMap((adapter) => {
    const gpu = amd?.find(({ pciAddress }) => pciAddress !== undefined && pciAddress === adapter.pciAddress);
    if (isHidden && amd !== undefined && adapter.id.startsWith("1002:") && gpu === undefined) return [];
    const { uuid } = gpu ?? {};
    return [{ name: adapter.name, pin: { ...pinTo(adapter), ...(uuid && { ROCR_VISIBLE_DEVICES: uuid }) } }];
  });
  if (chosen.length < 2) return { pins: [], notices: [] };
  return {
    pins: chosen.map(({ pin }) => pin),
    notices: [`WebGPU adapters: ${chosen.map(({ name }) => name).join(", ")}`],
  };
}

function mayUseWebgpu({ engine, device }: Wanted["cluster"]): boolean {
  return engine === "onnx" && ["auto", "webgpu"].includes(device);
}

/** Whether the device may be any NVIDIA GPU, so that each worker can have its own. */
function canSpread({ engine, device }: Wanted["cluster"]): boolean {
  const { name, index } = parseDevice(device);
  if (index !== undefined) return false;
  return (engine === "onnx" ? ["auto", "cuda", "tensorrt"] : ["auto", "gpu"]).includes(name);
}

function findInstalled(): Installed {
  const library = cudaLibraryPath();
  return { cuda: library !== undefined && existsSync(library), tfjsGpu: isInstalled("@tensorflow/tfjs-node-gpu") };
}

function isInstalled(packageName: string): boolean {
  try {
    createRequire(import.meta.url).resolve(packageName);
    return true;
  } catch {
    return false;
  }
}

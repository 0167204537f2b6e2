// How many workers `ringtune train` starts and which GPU each gets: one for each NVIDIA GPU that the configured device
// can use. A worker is pinned by its environment, so it sees one GPU and can take no other. What a worker then computes
// on is its own decision (worker/engine/onnx/providers.ts); other GPUs than NVIDIA's are not counted.

import { existsSync } from "node:fs";
import { createRequire } from "node:module";
import type { Config } from "../common/config/schema.ts";
import { cudaLibraryPath, parseDevice } from "../common/devices.ts";
import { listNvidiaGpus } from "../common/nvidia.ts";

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

/**
 * Resolves, whatever the machine has: without a list of GPUs there is one worker, or as many as configured. Workers that
 * are not launched from here run where they were started, on what they find there.
 */
export async function planDevices(
  { cluster, train }: Wanted,
  launch = true,
  environment: NodeJS.ProcessEnv = process.env,
  installed: Installed = findInstalled(),
): Promise<DevicePlan> {
  const wanted = cluster.workers === "auto" ? undefined : cluster.workers;
  const unpinned = (...notices: string[]): DevicePlan => ({ workers: wanted ?? 1, environment: () => ({}), notices });
  if (!launch || !canSpread(cluster)) return unpinned();
  const found = await listNvidiaGpus(environment);
  if (found.kind === "unknown" || found.gpus.length === 0) return unpinned();
  const { gpus } = found;
  const all = `${gpus.length} NVIDIA GPUs`;
  if (cluster.device === "auto" && !(cluster.engine === "onnx" ? installed.cuda : installed.tfjsGpu)) {
    const command = cluster.engine === "onnx" ? "make setup-cuda" : "make setup-tfjs-gpu";
    return gpus.length > 1 && wanted === undefined
      ? unpinned(`${all} are here, but what uses them is not installed (${command}); starting one worker`)
      : unpinned();
  }
  const most = cluster.share_devices ? Infinity : gpus.length;
  const workers = Math.min(wanted ?? Math.min(gpus.length, train.global_batch), most);
  const notices: string[] = [];
  if (wanted === undefined && workers < gpus.length) {
    notices.push(`using ${workers} of ${all}: train.global_batch ${train.global_batch} has no sequence for more`);
  }
  if (wanted !== undefined && wanted > workers)
    notices.push(
      `starting ${workers} of ${wanted} workers, one for each of ${all}; cluster.share_devices lets more share them`,
    );
  if (workers > gpus.length) notices.push(`${workers} workers share ${all}`);
  const uuidOf = (index: number): string => gpus[index % gpus.length]?.uuid ?? "";
  return { workers, environment: (index) => ({ CUDA_VISIBLE_DEVICES: uuidOf(index) }), notices };
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

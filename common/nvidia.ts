// The NVIDIA GPUs that CUDA programs started from here would see: nvidia-smi's list, cut down to CUDA_VISIBLE_DEVICES.
// GPUs are known by their UUIDs, because CUDA may count them in another order than nvidia-smi.

import { askTool } from "./ask-tool.ts";

export interface NvidiaGpu {
  /** "NVIDIA H100 80GB HBM3", or a slice of one: "NVIDIA H100 80GB HBM3 MIG 1g.10gb". */
  readonly name: string;
  /** As CUDA_VISIBLE_DEVICES takes it. */
  readonly uuid: string;
}

export type NvidiaGpus =
  | { readonly kind: "known"; readonly gpus: readonly NvidiaGpu[] }
  /** nvidia-smi is not there or does not answer; why, in words. */
  | { readonly kind: "unknown"; readonly reason: string };

/** Resolves, whatever nvidia-smi does. */
export async function listNvidiaGpus(env: NodeJS.ProcessEnv = process.env): Promise<NvidiaGpus> {
  const answer = await askTool("nvidia-smi", ["-L"], { env });
  if (answer.kind === "silent") return { kind: "unknown", reason: answer.reason };
  return { kind: "known", gpus: visibleGpus(parseList(answer.stdout), env["CUDA_VISIBLE_DEVICES"]) };
}

export interface GpuMemory {
  readonly totalBytes: number;
  readonly freeBytes: number;
}

/** Of whole GPUs, by UUID; slices of a GPU that is divided are not listed. Empty where nvidia-smi can't say. */
export async function readGpuMemory(env: NodeJS.ProcessEnv = process.env): Promise<ReadonlyMap<string, GpuMemory>> {
  const args = ["--query-gpu=uuid,memory.total,memory.free", "--format=csv,noheader,nounits"];
  const answer = await askTool("nvidia-smi", args, { env });
  const found = new Map<string, GpuMemory>();
  for (const line of answer.kind === "said" ? answer.stdout.split("\n") : []) {
    // In MiB.
    const [, uuid, total, free] = /^(GPU-\S+), (\d+), (\d+)$/.exec(line.trim()) ?? [];
    if (uuid === undefined) continue;
    found.set(uuid, { totalBytes: Number(total) * 2 ** 20, freeBytes: Number(free) * 2 ** 20 });
  }
  return found;
}

/** The lines of `nvidia-smi -L`. Of a GPU that is divided (MIG) only the slices can be used. */
export function parseList(text: string): NvidiaGpu[] {
  const whole: (NvidiaGpu & { readonly slices: NvidiaGpu[] })[] = [];
  for (const line of text.split("\n")) {
    const [, name, uuid] = /^GPU \d+: (.*) \(UUID: (GPU-[^)]+)\)/.exec(line) ?? [];
    if (name !== undefined && uuid !== undefined) whole.push({ name, uuid, slices: [] });
    const [, slice, sliceUuid] = /^\s+(MIG .*?)\s+Device\s+\d+: \(UUID: (MIG-[^)]+)\)/.exec(line) ?? [];
    const parent = whole.at(-1);
    if (parent === undefined || slice === undefined || sliceUuid === undefined) continue;
    parent.slices.push({ name: `${parent.name} ${slice}`, uuid: sliceUuid });
  }
  return whole.flatMap(({ name, uuid, slices }) => (slices.length > 0 ? slices : [{ name, uuid }]));
}

/** CUDA's reading of CUDA_VISIBLE_DEVICES: numbers or beginnings of UUIDs, up to the first that is none. */
export function visibleGpus(all: readonly NvidiaGpu[], visible: string | undefined): NvidiaGpu[] {
  if (visible === undefined) return [...all];
  const chosen: NvidiaGpu[] = [];
  for (const entry of visible.split(",").map((text) => text.trim())) {
    const gpu = /^\d+$/.test(entry)
      ? all[Number(entry)]
      : all.find(({ uuid }) => /^(GPU|MIG)-/.test(entry) && uuid.startsWith(entry));
    if (gpu === undefined || chosen.includes(gpu)) break;
    chosen.push(gpu);
  }
  return chosen;
}

// The AMD GPUs that ROCm programs started from here would see: rocm-smi's list, or the kernel's where that is not installed,
// cut down to ROCR_VISIBLE_DEVICES and HIP_VISIBLE_DEVICES. What computes on them is not known here.

import { readdir, readFile } from "node:fs/promises";
import { join } from "node:path";
import { askTool } from "./ask-tool.ts";

export interface RocmGpu {
  /** "AMD Instinct MI250X", or the kernel's word for it: "aldebaran". */
  readonly name: string;
  /** As ROCR_VISIBLE_DEVICES takes it: "GPU-719d230578348e8c"; undefined for those without one, such as Radeons of gfx8. */
  readonly uuid: string | undefined;
  /** "0000:c4:00.0" */
  readonly pciAddress: string | undefined;
}

export type RocmGpus =
  | { readonly kind: "known"; readonly gpus: readonly RocmGpu[] }
  /** Neither rocm-smi nor the kernel tells; why, in words. */
  | { readonly kind: "unknown"; readonly reason: string };

const topology = "/sys/class/kfd/kfd/topology/nodes";
const options = ["--showuniqueid", "--showproductname", "--showbus", "--json"];

/** Resolves, whatever rocm-smi does. */
export async function listRocmGpus(
  env: NodeJS.ProcessEnv = process.env,
  { nodes = topology, limitMs }: { readonly nodes?: string; readonly limitMs?: number } = {},
): Promise<RocmGpus> {
  const answer = await askTool("rocm-smi", options, { env, ...(limitMs === undefined ? {} : { limitMs }) });
  const listed = answer.kind === "said" ? parseRocmSmi(answer.stdout) : undefined;
  const gpus = listed ?? (await readTopology(nodes));
  if (gpus !== undefined) return { kind: "known", gpus: visibleRocmGpus(gpus, env) };
  const reason = answer.kind === "silent" ? answer.reason : "rocm-smi says something that is no list of GPUs";
  return { kind: "unknown", reason };
}

/** What rocm-smi says with --json, after its warnings. Undefined for what is no such list. */
export function parseRocmSmi(text: string): RocmGpu[] | undefined {
  const line = text.split("\n").findIndex((each) => each.trimStart().startsWith("{"));
  if (line < 0) return undefined;
  let cards: unknown;
  try {
    cards = JSON.parse(text.split("\n").slice(line).join("\n"));
  } catch {
    return undefined;
  }
  if (typeof cards !== "object" || cards === null) return undefined;
  const gpus: (RocmGpu & { readonly index: number })[] = [];
  for (const [card, fields] of Object.entries(cards)) {
    const index = /^card(\d+)$/.exec(card)?.[1];
    if (index === undefined || typeof fields !== "object" || fields === null) continue;
    // Names of fields have changed their case from version to version.
    const field = (...names: string[]): string | undefined => {
      const entries = Object.entries(fields as Record<string, unknown>);
      const values = names.map((name) => entries.find(([key]) => key.toLowerCase() === name)?.[1]);
      return values.find((value): value is string => typeof value === "string" && !/^(n\/a)?$/i.test(value));
    };
    const unique = /^(?:0x)?([0-9a-f]{1,16})$/i.exec(field("unique id") ?? "")?.[1];
    const named = [field("card series"), field("device name"), field("card model")];
    gpus.push({
      index: Number(index),
      name: named.find((name) => name !== undefined && !name.startsWith("0x")) ?? "AMD GPU",
      uuid: uuidOf(unique === undefined ? undefined : BigInt(`0x${unique}`)),
      pciAddress: field("pci bus")?.toLowerCase(),
    });
  }
  if (gpus.length === 0) return undefined;
  return withoutDoubles(gpus.sort((a, b) => a.index - b.index).map(({ index: _, ...gpu }) => gpu));
}

/** The kernel's list of what computes; processors are in it too, without SIMD units. Undefined where there is none. */
export async function readTopology(nodes: string): Promise<RocmGpu[] | undefined> {
  const names = await readdir(nodes).catch(() => undefined);
  if (names === undefined) return undefined;
  const gpus: RocmGpu[] = [];
  for (const node of names.map(Number).sort((a, b) => a - b)) {
    // Nodes that this user or container may not use can't be read.
    const text = await readFile(join(nodes, String(node), "properties"), "utf8").catch(() => "");
    const properties = new Map(text.split("\n").map((line) => line.split(" ") as [string, string | undefined]));
    const number = (name: string): bigint => {
      const digits = properties.get(name) ?? "";
      return /^\d+$/.test(digits) ? BigInt(digits) : 0n;
    };
    if (number("simd_count") === 0n) continue;
    const name = (await readFile(join(nodes, String(node), "name"), "utf8").catch(() => "")).trim();
    const place = Number(number("location_id"));
    const hex = (value: number, digits: number): string => value.toString(16).padStart(digits, "0");
    const slot = `${hex((place >> 8) & 0xff, 2)}:${hex((place >> 3) & 0x1f, 2)}.${place & 7}`;
    gpus.push({
      name: name === "" ? "AMD GPU" : name,
      uuid: uuidOf(number("unique_id")),
      pciAddress: `${hex(Number(number("domain")), 4)}:${slot}`,
    });
  }
  return withoutDoubles(gpus);
}

/** ROCm's reading: ROCR_VISIBLE_DEVICES has numbers or UUIDs, HIP_VISIBLE_DEVICES numbers among those that it leaves. */
export function visibleRocmGpus(all: readonly RocmGpu[], env: NodeJS.ProcessEnv): RocmGpu[] {
  const { ROCR_VISIBLE_DEVICES: rocr, HIP_VISIBLE_DEVICES: hip } = env;
  return choose(choose(all, rocr), hip);
}

/** Up to the first entry that is none. */
function choose(all: readonly RocmGpu[], visible: string | undefined): RocmGpu[] {
  if (visible === undefined) return [...all];
  const chosen: RocmGpu[] = [];
  for (const entry of visible.split(",").map((text) => text.trim())) {
    const isNumber = /^\d+$/.test(entry);
    const gpu = isNumber ? all[Number(entry)] : all.find(({ uuid }) => uuid?.toLowerCase() === entry.toLowerCase());
    if (gpu === undefined || chosen.includes(gpu)) break;
    chosen.push(gpu);
  }
  return chosen;
}

/** Undefined for 0, which stands for none. */
function uuidOf(unique: bigint | undefined): string | undefined {
  return unique === undefined || unique === 0n ? undefined : `GPU-${unique.toString(16).padStart(16, "0")}`;
}

/** The parts of a divided GPU have the same UUID, which then names none of them. */
function withoutDoubles(gpus: readonly RocmGpu[]): RocmGpu[] {
  const isDouble = ({ uuid }: RocmGpu): boolean => gpus.filter((other) => other.uuid === uuid).length > 1;
  return gpus.map((gpu) => (isDouble(gpu) ? { ...gpu, uuid: undefined } : gpu));
}

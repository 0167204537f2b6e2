// Which adapters WebGPU may take on this host: asked of a program of the worker's side, for a limited time.

import { readdir } from "node:fs/promises";
import { delimiter } from "node:path";
import { fileURLToPath } from "node:url";
import { askTool } from "../common/ask-tool.ts";
import { choices, hasDeviceSelectLayer, parseAdapters, type VulkanAdapter } from "../common/vulkan-adapters.ts";

export type Adapters =
  | { readonly kind: "known"; readonly adapters: readonly VulkanAdapter[] }
  /** There are not several, or the user has chosen one. */
  | { readonly kind: "one" }
  /** There may be several, and they can't be told apart; why, in words. */
  | { readonly kind: "unknown"; readonly reason: string };

const program = fileURLToPath(new URL("../worker/adapters/main.js", import.meta.url));
/** A first start of a graphics driver, on a busy host. */
const LIMIT_MS = 60_000;

/** Resolves. Costs nothing where there are not several graphics devices. */
export async function listAdapters(environment: NodeJS.ProcessEnv = process.env): Promise<Adapters> {
  if (process.platform !== "linux" || choices.some((name) => environment[name] !== undefined)) return { kind: "one" };
  const nodes = (await readdir("/dev/dri").catch(() => [])).filter((name) => name.startsWith("renderD"));
  const drivers = (environment["VK_DRIVER_FILES"] ?? environment["VK_ICD_FILENAMES"] ?? "").split(delimiter);
  if (nodes.length < 2 && drivers.length < 2) return { kind: "one" };
  if (!hasDeviceSelectLayer(environment)) {
    const layer = "Mesa's layer VK_LAYER_MESA_device_select is not installed (package mesa-vulkan-drivers)";
    return { kind: "unknown", reason: layer };
  }
  const answer = await askTool(process.execPath, [program], { env: environment, limitMs: LIMIT_MS });
  if (answer.kind === "silent") return { kind: "unknown", reason: answer.reason };
  const adapters = parseAdapters(answer.stdout);
  if (adapters.length > 0) return { kind: "known", adapters };
  return { kind: "unknown", reason: "Mesa's layer VK_LAYER_MESA_device_select lists none" };
}

// The adapters that WebGPU may take on Linux, and the environment in which it can take one only. ONNX Runtime 1.30 takes the
// first that Vulkan lists, so the choice is made below it, by Mesa's layer VK_LAYER_MESA_device_select, which comes with Mesa's
// Vulkan drivers and lists and hides adapters of all makers. Who runs a program of Vulkan to see the list is elsewhere.

import { existsSync } from "node:fs";
import { homedir } from "node:os";
import { join } from "node:path";

export interface VulkanAdapter {
  /** "AMD Radeon RX 6800 XT (RADV NAVI21)" */
  readonly name: string;
  readonly kind: "discrete GPU" | "integrated GPU" | "virtual GPU" | "CPU" | "other";
  /** Vendor and device as Mesa takes them: "1002:73bf". */
  readonly id: string;
  /** "0000:03:00.0"; undefined for what is on no PCI bus. */
  readonly pciAddress: string | undefined;
}

/** Lets the layer write its list to the standard error of a program of Vulkan, which it then ends. */
export const listingEnvironment = { MESA_VK_DEVICE_SELECT: "list" } as const;

/** Variables by which a user has chosen an adapter already. */
export const choices = ["MESA_VK_DEVICE_SELECT", "MESA_VK_DEVICE_SELECT_FORCE_DEFAULT_DEVICE", "DRI_PRIME"] as const;

/** Whether the layer is where the Vulkan loader looks for layers that are always on. */
export function hasDeviceSelectLayer(environment: NodeJS.ProcessEnv): boolean {
  const own = environment["XDG_DATA_HOME"] ?? join(homedir(), ".local/share");
  const folders = ["/etc", "/usr/local/etc", "/usr/local/share", "/usr/share", own];
  return folders.some((folder) => existsSync(join(folder, "vulkan/implicit_layer.d/VkLayer_MESA_device_select.json")));
}

/** The layer's list; what else a driver writes is not read. */
export function parseAdapters(text: string): VulkanAdapter[] {
  const lines =
    /^ {2}GPU \d+: ([0-9a-f]+:[0-9a-f]+) "(.*)" (discrete GPU|integrated GPU|virtual GPU|CPU|other)(?: ([0-9a-f]{4,}:[0-9a-f]{2}:[0-9a-f]{2}\.[0-9a-f]))?$/gm;
  return [...text.matchAll(lines)].map(([, id = "", name = "", kind, pciAddress]) => ({
    name,
    id,
    kind: kind as VulkanAdapter["kind"],
    pciAddress,
  }));
}

/**
 * Those that a worker each is worth: GPUs with memory of their own, or else the others, but no processor. Which of two
 * alike is meant can't be said without an address.
 */
export function worthwhile(adapters: readonly VulkanAdapter[]): VulkanAdapter[] {
  const gpus = adapters.filter(({ kind }) => kind !== "CPU");
  const discrete = gpus.filter(({ kind }) => kind === "discrete GPU");
  const best = discrete.length > 0 ? discrete : gpus;
  return best.filter(
    ({ id, pciAddress }) => pciAddress !== undefined || adapters.filter((other) => other.id === id).length === 1,
  );
}

/** Variables with which a process sees this adapter alone. Mesa 21 or newer. */
export function pinTo({ id, pciAddress }: VulkanAdapter): Readonly<Record<string, string>> {
  const only = { MESA_VK_DEVICE_SELECT_FORCE_DEFAULT_DEVICE: "1" };
  if (pciAddress === undefined) return { MESA_VK_DEVICE_SELECT: id, ...only };
  return { DRI_PRIME: `pci-${pciAddress.replace(/[:.]/g, "_")}`, ...only };
}

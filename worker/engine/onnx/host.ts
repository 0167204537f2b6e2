// What this machine has, as far as files and nvidia-smi tell: facts for providers.ts, nothing is decided here. Tests
// describe a machine of their own.

import { existsSync, readdirSync } from "node:fs";
import { homedir } from "node:os";
import { basename, delimiter, join } from "node:path";
import { cudaLibraryPath, type ProviderName } from "../../../common/devices.ts";
import { listNvidiaGpus, type NvidiaGpus } from "../../../common/nvidia.ts";
import { probeProvider, type ProbeResult } from "./probe.ts";

/** An execution provider and which of the machine's devices it is to use. */
export interface Provider {
  readonly name: ProviderName;
  /** Which GPU, from 0; 0 where there is no choice. */
  readonly index: number;
}

export interface Host {
  /** "linux x64" */
  readonly platform: string;
  /** What the installed onnxruntime-node was built with: "cpu", "webgpu", "cuda". */
  readonly backends: readonly string[];
  readonly environment: NodeJS.ProcessEnv;
  /** Device files of GPUs, or undefined where devices are no files. */
  readonly deviceFiles: readonly string[] | undefined;
  /** Description files (ICDs) of the Vulkan drivers that the loader would read, or undefined where it is not Vulkan. */
  readonly vulkanDrivers: readonly string[] | undefined;
  readonly hasCudaLibrary: boolean;
  nvidiaGpus(): Promise<NvidiaGpus>;
  probe(provider: Provider): Promise<ProbeResult>;
}

/** Device files that only the driver of a real GPU opens. */
export const gpuDeviceFile = /^\/dev\/(dri\/renderD\d+|nvidia\d+|dxg)$/;

/** This machine. */
export function createHost(backends: readonly string[], environment: NodeJS.ProcessEnv = process.env): Host {
  const linux = process.platform === "linux";
  const library = cudaLibraryPath();
  return {
    platform: `${process.platform} ${process.arch}`,
    backends,
    environment,
    deviceFiles: linux ? ["/dev", "/dev/dri"].flatMap(list).filter((path) => gpuDeviceFile.test(path)) : undefined,
    vulkanDrivers: linux ? findVulkanDrivers(environment) : undefined,
    hasCudaLibrary: library !== undefined && existsSync(library),
    nvidiaGpus: () => listNvidiaGpus(environment),
    probe: (provider) => probeProvider(provider, environment),
  };
}

/** As the Vulkan loader looks for them (LoaderDriverInterface.md, "Driver Discovery"). */
export function findVulkanDrivers(environment: NodeJS.ProcessEnv): string[] {
  const { VK_DRIVER_FILES, VK_ICD_FILENAMES, VK_ADD_DRIVER_FILES, XDG_DATA_HOME } = environment;
  const descriptions = (path: string): string[] => (path.endsWith(".json") ? [path] : list(path));
  const named = VK_DRIVER_FILES ?? VK_ICD_FILENAMES;
  const added = VK_ADD_DRIVER_FILES?.split(delimiter) ?? [];
  const folders = [
    "/etc",
    "/usr/local/etc",
    "/usr/local/share",
    "/usr/share",
    XDG_DATA_HOME ?? join(homedir(), ".local/share"),
  ];
  const places = named?.split(delimiter) ?? [...added, ...folders.map((folder) => join(folder, "vulkan/icd.d"))];
  return places.flatMap(descriptions).filter((path) => basename(path).endsWith(".json") && existsSync(path));
}

/** Paths in a folder; none if it is not there. */
function list(folder: string): string[] {
  try {
    return readdirSync(folder).map((name) => join(folder, name));
  } catch {
    return [];
  }
}

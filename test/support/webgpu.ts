// WebGPU without a GPU: SwiftShader, which comes with Debian's chromium package, computes Vulkan on the CPU. Drivers and
// libraries are found through the environment a process starts with, so this is called before any test process starts.

import { existsSync } from "node:fs";
import { delimiter } from "node:path";

const folder = "/usr/lib/chromium";
const driver = `${folder}/vk_swiftshader_icd.json`;

/** Makes SwiftShader the Vulkan driver of the processes to come, unless another is named in the environment already. */
export function useSwiftShader(environment: NodeJS.ProcessEnv): void {
  if (hasVulkanDriver(environment) || !existsSync(driver)) return;
  environment["VK_ICD_FILENAMES"] = driver;
  // The package brings the Vulkan loader too, which is not on every machine.
  const libraries = environment["LD_LIBRARY_PATH"];
  environment["LD_LIBRARY_PATH"] = libraries ? `${libraries}${delimiter}${folder}` : folder;
}

/** Whether a Vulkan driver is named in the environment: SwiftShader's, or that of a GPU to run the tests on. */
export function hasVulkanDriver(environment: NodeJS.ProcessEnv): boolean {
  return (environment["VK_DRIVER_FILES"] ?? environment["VK_ICD_FILENAMES"] ?? "") !== "";
}

// Which execution provider is taken on which machine. The machines are made up; what a real driver says is tried on the
// cpu provider, and on webgpu where there is a Vulkan driver.

import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { describe, expect, onTestFinished, test } from "vitest";
import { createHost, findVulkanDrivers, type Host, type Provider } from "../../../worker/engine/onnx/host.ts";
import { probeProvider } from "../../../worker/engine/onnx/probe.ts";
import { selectProvider } from "../../../worker/engine/onnx/providers.ts";
import { hasWebgpu } from "../../support/engines.ts";

const linux: Host = {
  platform: "linux x64",
  backends: ["cpu", "webgpu", "cuda", "tensorrt"],
  environment: {},
  deviceFiles: [],
  vulkanDrivers: [],
  hasCudaLibrary: false,
  nvidiaGpus: async () => ({ kind: "unknown", reason: "nvidia-smi is not installed" }),
  probe: async ({ name }) => Promise.reject(new Error(`${name} must not be tried on this machine`)),
};
const twoGpus: Host = {
  ...linux,
  deviceFiles: ["/dev/nvidia0", "/dev/nvidia1", "/dev/dri/renderD128"],
  vulkanDrivers: ["/usr/share/vulkan/icd.d/nvidia_icd.json"],
  nvidiaGpus: async () => ({
    kind: "known",
    gpus: [
      { name: "NVIDIA A", uuid: "GPU-a" },
      { name: "NVIDIA B", uuid: "GPU-b" },
    ],
  }),
};
const works =
  (...opened: string[]) =>
  async () => ({ kind: "works" as const, opened });
const fails = (reason: string) => async () => ({ kind: "fails" as const, reason });
const intel = ["/dev/dri/renderD128", "/usr/lib/libvulkan_intel.so"];

describe("auto", () => {
  test("takes the cpu on a machine without GPUs, and says why", async () => {
    expect(await selectProvider("auto", linux)).toEqual({
      provider: { name: "cpu", index: 0 },
      description: "cpu",
      why: [
        "not cuda: no NVIDIA GPU (nvidia-smi is not installed)",
        "not webgpu: no graphics device (/dev/dri, /dev/nvidia0)",
      ],
    });
  });

  test("prefers CUDA, and names the GPU", async () => {
    const host = { ...twoGpus, hasCudaLibrary: true, probe: works("/dev/nvidia0") };
    expect(await selectProvider("auto", host)).toEqual({
      provider: { name: "cuda", index: 0 },
      description: "cuda:0 (NVIDIA A)",
      gpuUuid: "GPU-a",
      why: [],
    });
  });

  test("takes WebGPU on an NVIDIA GPU when CUDA's library is not installed", async () => {
    const selection = await selectProvider("auto", { ...twoGpus, probe: works("/dev/nvidia0") });
    expect(selection.provider.name).toBe("webgpu");
    expect(selection.why).toEqual(["not cuda: ONNX Runtime's CUDA library is not installed (make setup-cuda)"]);
  });

  test("knows the GPU of WebGPU where there is one NVIDIA GPU and it was opened", async () => {
    const oneGpu: Host["nvidiaGpus"] = async () => ({ kind: "known", gpus: [{ name: "NVIDIA A", uuid: "GPU-a" }] });
    const uuidOf = async (host: Host) => (await selectProvider("webgpu", host)).gpuUuid;
    expect(await uuidOf({ ...twoGpus, nvidiaGpus: oneGpu, probe: works("/dev/nvidia0") })).toBe("GPU-a");
    expect(await uuidOf({ ...twoGpus, nvidiaGpus: oneGpu, probe: works(...intel) })).toBeUndefined();
    expect(await uuidOf({ ...twoGpus, probe: works("/dev/nvidia0") })).toBeUndefined();
  });

  test("takes WebGPU when CUDA does not start, and passes on what it said", async () => {
    const message =
      "/onnxruntime_src/onnxruntime/core/providers/cuda/cuda_call.cc:129 std::conditional_t<THRW, void, common::Status> onnxruntime::CudaCall(...) [with ERRTYPE = cudaError] [ONNXRuntimeError] : CUDA failure 35: CUDA driver version is insufficient\nmore";
    const probe = async (provider: Provider) => (provider.name === "cuda" ? fails(message)() : works(...intel)());
    const selection = await selectProvider("auto", { ...twoGpus, hasCudaLibrary: true, probe });
    expect(selection.description).toBe("webgpu");
    expect(selection.why).toEqual(["not cuda: CUDA failure 35: CUDA driver version is insufficient"]);
  });

  test.each([
    { found: "no driver", vulkanDrivers: [], why: "no Vulkan driver is installed" },
    {
      found: "llvmpipe alone",
      vulkanDrivers: ["/usr/share/vulkan/icd.d/lvp_icd.x86_64.json"],
      why: "the only Vulkan adapter is llvmpipe, which computes on the CPU",
    },
    {
      found: "SwiftShader alone",
      vulkanDrivers: ["/usr/lib/chromium/vk_swiftshader_icd.json"],
      why: "the only Vulkan adapter is SwiftShader, which computes on the CPU",
    },
  ])("does not even try WebGPU with $found", async ({ vulkanDrivers, why }) => {
    const { provider, why: said } = await selectProvider("auto", {
      ...linux,
      deviceFiles: ["/dev/dri/renderD128"],
      vulkanDrivers,
    });
    expect(provider.name).toBe("cpu");
    expect(said[1]).toBe(`not webgpu: ${why}`);
  });

  test("leaves WebGPU when of several drivers only the software one finds an adapter", async () => {
    const host = {
      ...linux,
      deviceFiles: ["/dev/dri/renderD128"],
      vulkanDrivers: ["/usr/share/vulkan/icd.d/radeon_icd.json", "/usr/share/vulkan/icd.d/lvp_icd.json"],
      probe: works("/usr/lib/libvulkan_radeon.so", "/usr/lib/libvulkan_lvp.so"),
    };
    const { provider, why } = await selectProvider("auto", host);
    expect(provider.name).toBe("cpu");
    expect(why[1]).toBe("not webgpu: the only Vulkan adapter is llvmpipe, which computes on the CPU");
  });

  test("takes WebGPU without files to look at on a Mac", async () => {
    const mac = {
      ...linux,
      platform: "darwin arm64",
      backends: ["cpu", "webgpu", "coreml"],
      deviceFiles: undefined,
      vulkanDrivers: undefined,
    };
    const selection = await selectProvider("auto", { ...mac, probe: works() });
    expect(selection).toMatchObject({
      description: "webgpu",
      why: ["not cuda: onnxruntime-node has none for darwin arm64"],
    });
  });
});

describe("a device that is asked for", () => {
  test("is not replaced by another", async () => {
    await expect(selectProvider("cuda", linux)).rejects.toMatchObject({
      code: "no_device",
      message: "device cuda can't be used: no NVIDIA GPU (nvidia-smi is not installed)",
    });
    await expect(selectProvider("dml", linux)).rejects.toThrow("onnxruntime-node has none for linux x64");
    await expect(selectProvider("webgpu", linux)).rejects.toThrow("no Vulkan driver is installed");
    await expect(selectProvider("gpu", linux)).rejects.toThrow("gpu is a device of engine tfjs");
    await expect(selectProvider("webgpu:1", twoGpus)).rejects.toThrow("can't be chosen");
  });

  test("is pinned to the GPU of its number", async () => {
    const tried: Provider[] = [];
    const probe = async (provider: Provider) => {
      tried.push(provider);
      return works()();
    };
    const host = { ...twoGpus, hasCudaLibrary: true, probe };
    expect(await selectProvider("cuda:1", host)).toEqual({
      provider: { name: "cuda", index: 1 },
      description: "cuda:1 (NVIDIA B)",
      gpuUuid: "GPU-b",
      why: [],
    });
    expect(tried).toEqual([{ name: "cuda", index: 1 }]);
    await expect(selectProvider("cuda:2", host)).rejects.toThrow("nvidia-smi lists 2 GPUs, numbered from 0");
    const one = {
      ...host,
      environment: { CUDA_VISIBLE_DEVICES: "" },
      nvidiaGpus: async () => ({ kind: "known" as const, gpus: [] }),
    };
    await expect(selectProvider("cuda", one)).rejects.toThrow("with CUDA_VISIBLE_DEVICES= CUDA sees 0 GPUs");
  });

  test("may be a software adapter, which is named", async () => {
    const host = { ...linux, vulkanDrivers: ["/x/vk_swiftshader_icd.json"], probe: works("/x/libvk_swiftshader.so") };
    expect((await selectProvider("webgpu", host)).description).toBe("webgpu (SwiftShader, on the CPU)");
  });

  test("is the cpu without any question", async () => {
    expect((await selectProvider("cpu", linux)).provider).toEqual({ name: "cpu", index: 0 });
  });
});

describe("a first graph in a process of its own", () => {
  const cpu: Provider = { name: "cpu", index: 0 };

  async function fakeRuntime(source: string): Promise<string> {
    const folder = await mkdtemp(join(tmpdir(), "ringtune-probe-"));
    onTestFinished(() => rm(folder, { recursive: true }));
    await writeFile(join(folder, "ort.cjs"), source);
    return join(folder, "ort.cjs");
  }

  test("runs on the cpu provider", async () => {
    const result = await probeProvider(cpu);
    expect(result).toMatchObject({ kind: "works" });
    if (process.platform === "linux") {
      expect(result.kind === "works" && result.opened.some((path) => path.includes("libonnxruntime.so"))).toBe(true);
    }
  });

  test("survives a driver that crashes", async () => {
    const path = await fakeRuntime("process.abort();");
    expect(await probeProvider(cpu, process.env, path)).toEqual({
      kind: "fails",
      reason: "its driver crashed (SIGABRT) on a first small graph",
    });
  });

  test("does not believe a provider that computes something else", async () => {
    const path = await fakeRuntime(
      "exports.Tensor = class {}; exports.InferenceSession = { create: async () => ({ run: async () => ({ y: { data: new Float32Array(9) } }) }) };",
    );
    expect(await probeProvider(cpu, process.env, path)).toEqual({
      kind: "fails",
      reason: "it computes 3 x 3 = 0",
    });
  });

  test("names the library that is missing", async () => {
    const path = await fakeRuntime(
      "console.error('Failed to load library with error: libcudnn.so.9: cannot open shared object file: No such file'); throw new Error('Failed to load shared library');",
    );
    expect(await probeProvider(cpu, process.env, path)).toEqual({
      kind: "fails",
      reason: "libcudnn.so.9: cannot open shared object file",
    });
  });

  test.skipIf(!hasWebgpu || process.platform !== "linux")(
    "runs on webgpu, and shows which driver it used",
    async () => {
      const selection = await selectProvider("webgpu", createHost(["cpu", "webgpu"]));
      expect(selection.description).toMatch(/^webgpu/);
      if (/swiftshader/.test(process.env["VK_ICD_FILENAMES"] ?? "")) {
        expect(selection.description).toBe("webgpu (SwiftShader, on the CPU)");
      }
    },
  );
});

test("Vulkan drivers are those that the environment names", async () => {
  const folder = await mkdtemp(join(tmpdir(), "ringtune-vulkan-"));
  onTestFinished(() => rm(folder, { recursive: true }));
  const [one, two] = [join(folder, "one_icd.json"), join(folder, "two_icd.json")];
  await Promise.all([writeFile(one, "{}"), writeFile(two, "{}"), writeFile(join(folder, "README"), "")]);
  const missing = join(folder, "missing.json");
  expect(findVulkanDrivers({ VK_ICD_FILENAMES: `${one}:${missing}` })).toEqual([one]);
  expect(findVulkanDrivers({ VK_DRIVER_FILES: folder, VK_ICD_FILENAMES: "other" }).sort()).toEqual([one, two]);
});

// How many workers are started and which GPU each may use, with a fake nvidia-smi.

import { describe, expect, test } from "vitest";
import { configSchema } from "../../common/config/schema.ts";
import { planDevices, type DevicePlan, type Installed } from "../../coordinator/devices.ts";
import { visibleRocmGpus, type RocmGpu } from "../../common/rocm.ts";
import { parseAdapters } from "../../common/vulkan-adapters.ts";
import type { Adapters } from "../../coordinator/adapters.ts";
import { withNvidiaSmi } from "../support/nvidia-smi.ts";

const threeGpus = ["GPU-a", "GPU-b", "GPU-c"].map((uuid, i) => `echo "GPU ${i}: NVIDIA X (UUID: ${uuid})"`).join("\n");
const all: Installed = { cuda: true, tfjsGpu: true };
const none: Installed = { cuda: false, tfjsGpu: false };

interface Machine {
  readonly cluster?: object;
  readonly batch?: number;
  readonly script?: string;
  readonly installed?: Installed;
  readonly visible?: string;
  readonly launch?: boolean;
  readonly adapters?: Adapters;
  readonly amd?: readonly RocmGpu[];
  readonly variables?: NodeJS.ProcessEnv;
}

async function plan({
  cluster = {},
  batch = 16,
  script = threeGpus,
  installed = all,
  visible,
  launch = true,
  adapters = { kind: "one" },
  amd,
  variables = {},
}: Machine) {
  const config = configSchema.parse({ cluster, train: { steps: 1, global_batch: batch, microbatch: 1 } });
  const environment = {
    ...(await withNvidiaSmi(script)),
    ...(visible === undefined ? {} : { CUDA_VISIBLE_DEVICES: visible }),
    ...variables,
  };
  return planDevices(config, launch, environment, installed, {
    adapters: async () => adapters,
    rocm: async (env) =>
      amd === undefined
        ? { kind: "unknown", reason: "rocm-smi is not installed" }
        : { kind: "known", gpus: visibleRocmGpus(amd, env) },
  });
}

function gpusOf({ workers, environment }: DevicePlan): (string | undefined)[] {
  return Array.from({ length: workers }, (_, index) => environment(index)["CUDA_VISIBLE_DEVICES"]);
}

describe("workers: auto", () => {
  test.each([{}, { device: "cuda" }, { device: "tensorrt" }, { engine: "tfjs" }, { engine: "tfjs", device: "gpu" }])(
    "starts a worker for each GPU with %j, each seeing its own alone",
    async (cluster) => {
      const devices = await plan({ cluster });
      expect(gpusOf(devices)).toEqual(["GPU-a", "GPU-b", "GPU-c"]);
      expect(devices.notices).toEqual([]);
    },
  );

  test.each([{ device: "cpu" }, { device: "webgpu" }, { device: "cuda:1" }, { engine: "tfjs", device: "wasm" }])(
    "starts one worker with %j",
    async (cluster) => {
      expect(gpusOf(await plan({ cluster }))).toEqual([undefined]);
    },
  );

  test("uses only the GPUs that CUDA_VISIBLE_DEVICES leaves", async () => {
    expect(gpusOf(await plan({ visible: "2,0" }))).toEqual(["GPU-c", "GPU-a"]);
    expect(gpusOf(await plan({ visible: "" }))).toEqual([undefined]);
  });

  test("starts one worker where nvidia-smi fails", async () => {
    expect(gpusOf(await plan({ script: "exit 9" }))).toEqual([undefined]);
  });

  test.each([
    [{}, "make setup-cuda"],
    [{ engine: "tfjs" }, "make setup-tfjs-gpu"],
  ])("starts one worker and says so when nothing that uses the GPUs is installed: %j", async (cluster, command) => {
    const devices = await plan({ cluster, installed: none });
    expect(gpusOf(devices)).toEqual([undefined]);
    expect(devices.notices).toEqual([
      `3 NVIDIA GPUs are here, but what uses them is not installed (${command}); starting one worker`,
    ]);
  });

  test("starts no worker that would have nothing to do", async () => {
    const devices = await plan({ batch: 2 });
    expect(gpusOf(devices)).toEqual(["GPU-a", "GPU-b"]);
    expect(devices.notices).toEqual(["using 2 of 3 NVIDIA GPUs: train.global_batch 2 has no sequence for more"]);
  });

  test("waits for one worker when workers are started by hand", async () => {
    expect(gpusOf(await plan({ launch: false }))).toEqual([undefined]);
  });
});

test("no more workers than GPUs are started, and it is said", async () => {
  const devices = await plan({ cluster: { workers: 5 } });
  expect(gpusOf(devices)).toEqual(["GPU-a", "GPU-b", "GPU-c"]);
  expect(devices.notices).toEqual([
    "starting 3 of 5 workers, one for each of 3 NVIDIA GPUs; cluster.share_devices lets more share them",
  ]);
});

test("more workers than GPUs share them in turn when they may, and it is said", async () => {
  const devices = await plan({ cluster: { workers: 5, share_devices: true } });
  expect(gpusOf(devices)).toEqual(["GPU-a", "GPU-b", "GPU-c", "GPU-a", "GPU-b"]);
  expect(devices.notices).toEqual(["5 workers share 3 NVIDIA GPUs"]);
});

test("the number of workers that is asked for is started without GPUs too", async () => {
  expect(gpusOf(await plan({ cluster: { workers: 2 }, script: "exit 9" }))).toEqual([undefined, undefined]);
});

describe("adapters of WebGPU", () => {
  const noNvidia = "exit 9";
  const text = [
    '  GPU 0: 8086:4c8a "Intel(R) UHD Graphics 750 (RKL GT1)" integrated GPU 0000:00:02.0',
    '  GPU 1: 1002:7408 "AMD Instinct MI250X (RADV ALDEBARAN)" discrete GPU 0000:c9:00.0',
    '  GPU 2: 1002:7408 "AMD Instinct MI250X (RADV ALDEBARAN)" discrete GPU 0000:d1:00.0',
  ].join("\n");
  const adapters: Adapters = { kind: "known", adapters: parseAdapters(text) };
  const amd: RocmGpu[] = ["c9", "d1"].map((bus, index) => ({
    name: "AMD Instinct MI250X",
    uuid: `GPU-000000000000000${index}`,
    pciAddress: `0000:${bus}:00.0`,
  }));
  const pins = ({ workers, environment }: DevicePlan): (string | undefined)[] =>
    Array.from({ length: workers }, (_, index) => environment(index)["DRI_PRIME"]);

  test("one worker for each, pinned below WebGPU, and for ROCm too", async () => {
    const devices = await plan({ script: noNvidia, adapters, amd });
    expect(pins(devices)).toEqual(["pci-0000_c9_00_0", "pci-0000_d1_00_0"]);
    expect(devices.environment(1)).toMatchObject({ ROCR_VISIBLE_DEVICES: "GPU-0000000000000001" });
    expect(devices.notices).toEqual([
      "WebGPU adapters: AMD Instinct MI250X (RADV ALDEBARAN), AMD Instinct MI250X (RADV ALDEBARAN)",
    ]);
  });

  test("none of AMD's that a scheduler has hidden from ROCm", async () => {
    const hidden = { ROCR_VISIBLE_DEVICES: "1" };
    expect(pins(await plan({ script: noNvidia, adapters, amd, variables: hidden }))).toEqual([undefined]);
    expect(pins(await plan({ script: noNvidia, adapters, variables: hidden }))).toHaveLength(2);
  });

  test("are not asked for where NVIDIA's GPUs can be used, or another device is named", async () => {
    expect(gpusOf(await plan({ adapters, amd }))).toEqual(["GPU-a", "GPU-b", "GPU-c"]);
    for (const device of ["cpu", "cuda:1"]) {
      expect(pins(await plan({ cluster: { device }, adapters, amd }))).toEqual([undefined]);
    }
    expect(pins(await plan({ cluster: { device: "webgpu" }, adapters }))).toHaveLength(2);
  });

  test("several that can't be told apart are one worker, and it is said why", async () => {
    const devices = await plan({
      script: noNvidia,
      adapters: { kind: "unknown", reason: "Mesa's layer is not installed" },
    });
    expect(pins(devices)).toEqual([undefined]);
    expect(devices.notices).toEqual([
      "several graphics devices are here, and WebGPU takes the first: Mesa's layer is not installed; starting one worker",
    ]);
  });

  test("are shared by more workers in turn, where that is allowed", async () => {
    const few = await plan({ cluster: { workers: 3 }, script: noNvidia, adapters });
    expect(pins(few)).toHaveLength(2);
    expect(few.notices.at(-1)).toMatch(/^starting 2 of 3 workers, one for each of 2 WebGPU adapters; /);
    const devices = await plan({ cluster: { workers: 3, share_devices: true }, script: noNvidia, adapters });
    expect(pins(devices)).toEqual(["pci-0000_c9_00_0", "pci-0000_d1_00_0", "pci-0000_c9_00_0"]);
    expect(devices.notices.at(-1)).toBe("3 workers share 2 WebGPU adapters");
  });
});

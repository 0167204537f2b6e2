// How many workers are started and which GPU each may use, with a fake nvidia-smi.

import { describe, expect, test } from "vitest";
import { configSchema } from "../../common/config/schema.ts";
import { planDevices, type DevicePlan, type Installed } from "../../coordinator/devices.ts";
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
}

async function plan({
  cluster = {},
  batch = 16,
  script = threeGpus,
  installed = all,
  visible,
  launch = true,
}: Machine) {
  const config = configSchema.parse({ cluster, train: { steps: 1, global_batch: batch, microbatch: 1 } });
  const environment = {
    ...(await withNvidiaSmi(script)),
    ...(visible === undefined ? {} : { CUDA_VISIBLE_DEVICES: visible }),
  };
  return planDevices(config, launch, environment, installed);
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

// Devices through the real command line: what is said about them, training on WebGPU, and GPUs that can't be used.

import { existsSync } from "node:fs";
import { join } from "node:path";
import { expect, test } from "vitest";
import { cudaLibraryPath } from "../../common/devices.ts";
import { finish, readSteps, smallRun, type Finished, type SmallRun } from "../support/cli.ts";
import { hasWebgpu, withoutWebgpu } from "../support/engines.ts";
import { withNvidiaSmi } from "../support/nvidia-smi.ts";

function train({ config }: SmallRun, name: string, env: NodeJS.ProcessEnv, ...settings: string[]): Promise<Finished> {
  const changes = [`checkpoint.name=${name}`, ...settings].flatMap((setting) => ["--set", setting]);
  return finish(["train", config, ...changes], { env });
}

const noGpu = { PATH: "/usr/bin:/bin", CUDA_VISIBLE_DEVICES: "" };
const twoGpus = 'echo "GPU 0: NVIDIA X (UUID: GPU-a)"; echo "GPU 1: NVIDIA X (UUID: GPU-b)"';

test("says once what computes, and why nothing better does", async () => {
  const result = await train(await smallRun({ steps: 2, warmup_steps: 0 }), "auto", noGpu, "cluster.workers=2");
  expect(result, result.stderr).toMatchObject({ code: 0 });
  const lines = result.stdout.split("\n").filter((line) => line.startsWith("computing on"));
  expect(lines).toHaveLength(1);
  expect(lines[0]).toMatch(/^computing on onnx .*not cuda: /);
});

test.skipIf(!hasWebgpu)("trains on WebGPU as on the CPU, within 1e-4", async () => {
  const small = await smallRun({ steps: 3, warmup_steps: 0 });
  for (const device of ["cpu", "webgpu"]) {
    const result = await train(small, device, {}, `cluster.device=${device}`, "cluster.workers=2");
    expect(result, result.stderr).toMatchObject({ code: 0 });
    expect(result.stdout).toContain(`computing on onnx ${device}`);
  }
  const [cpu, webgpu] = [await lossesOf(small, "cpu"), await lossesOf(small, "webgpu")];
  expect(webgpu).toHaveLength(3);
  for (const [i, loss] of webgpu.entries()) expect(Math.abs(loss / cpu[i]! - 1)).toBeLessThan(1e-4);
});
test.skipIf(hasWebgpu)(withoutWebgpu, () => undefined);

test.skipIf(existsSync(cudaLibraryPath() ?? ""))("says how to use GPUs for which nothing is installed", async () => {
  const env = { ...(await withNvidiaSmi(twoGpus)), CUDA_VISIBLE_DEVICES: undefined };
  const small = await smallRun({ steps: 2, warmup_steps: 0 });
  const auto = await train(small, "auto", env);
  expect(auto, auto.stderr).toMatchObject({ code: 0 });
  expect(auto.stdout).toContain("2 NVIDIA GPUs are here, but what uses them is not installed (make setup-cuda)");
  expect(auto.stdout).toContain("not cuda: ONNX Runtime's CUDA library is not installed (make setup-cuda)");
  const cuda = await train(small, "cuda", env, "cluster.device=cuda");
  expect(cuda.code).toBe(4);
  expect(cuda.stderr).toContain(
    "device cuda can't be used: ONNX Runtime's CUDA library is not installed (make setup-cuda)",
  );
});

async function lossesOf({ folder }: SmallRun, name: string): Promise<number[]> {
  return (await readSteps(join(folder, "runs", name))).map(({ loss }) => loss);
}

import { expect, test } from "vitest";
import { listNvidiaGpus, parseList, readGpuMemory, visibleGpus, type NvidiaGpu } from "../../common/nvidia.ts";
import { withNvidiaSmi } from "../support/nvidia-smi.ts";

const list = `GPU 0: NVIDIA H100 80GB HBM3 (UUID: GPU-11111111-aaaa)
GPU 1: NVIDIA GeForce RTX 4090 (UUID: GPU-22222222-bbbb)
`;
const divided = `GPU 0: NVIDIA A100-SXM4-40GB (UUID: GPU-33333333-cccc)
  MIG 1g.5gb      Device  0: (UUID: MIG-44444444-dddd)
  MIG 2g.10gb     Device  1: (UUID: MIG-55555555-eeee)
GPU 1: NVIDIA A100-SXM4-40GB (UUID: GPU-66666666-ffff)
`;

const uuids = (gpus: readonly NvidiaGpu[]): string[] => gpus.map(({ uuid }) => uuid);

test("reads the list of GPUs", () => {
  expect(parseList(list)).toEqual([
    { name: "NVIDIA H100 80GB HBM3", uuid: "GPU-11111111-aaaa" },
    { name: "NVIDIA GeForce RTX 4090", uuid: "GPU-22222222-bbbb" },
  ]);
  expect(parseList("No devices found.\n")).toEqual([]);
});

test("counts the slices of a GPU that is divided, and not the GPU", () => {
  expect(parseList(divided)).toEqual([
    { name: "NVIDIA A100-SXM4-40GB MIG 1g.5gb", uuid: "MIG-44444444-dddd" },
    { name: "NVIDIA A100-SXM4-40GB MIG 2g.10gb", uuid: "MIG-55555555-eeee" },
    { name: "NVIDIA A100-SXM4-40GB", uuid: "GPU-66666666-ffff" },
  ]);
});

test.each([
  [undefined, ["GPU-11111111-aaaa", "GPU-22222222-bbbb"]],
  ["1", ["GPU-22222222-bbbb"]],
  ["1,0", ["GPU-22222222-bbbb", "GPU-11111111-aaaa"]],
  ["GPU-2222", ["GPU-22222222-bbbb"]],
  ["0,7,1", ["GPU-11111111-aaaa"]],
  ["-1", []],
  ["", []],
])("CUDA_VISIBLE_DEVICES=%s leaves %j", (visible, left) => {
  expect(uuids(visibleGpus(parseList(list), visible))).toEqual(left);
});

test("asks nvidia-smi, and heeds CUDA_VISIBLE_DEVICES", async () => {
  const env = await withNvidiaSmi(`[ "$1" = -L ] && cat <<'LIST'\n${list}LIST`);
  expect(await listNvidiaGpus(env)).toEqual({ kind: "known", gpus: parseList(list) });
  expect(await listNvidiaGpus({ ...env, CUDA_VISIBLE_DEVICES: "1" })).toMatchObject({
    gpus: [{ uuid: "GPU-22222222-bbbb" }],
  });
});

test("says why there is no list", async () => {
  expect(await listNvidiaGpus({ PATH: "/nowhere" })).toEqual({
    kind: "unknown",
    reason: "nvidia-smi is not installed",
  });
  const broken = await withNvidiaSmi(
    'echo "NVIDIA-SMI has failed because it couldn\'t communicate with the NVIDIA driver."; exit 9',
  );
  expect(await listNvidiaGpus(broken)).toEqual({
    kind: "unknown",
    reason: "nvidia-smi fails: NVIDIA-SMI has failed because it couldn't communicate with the NVIDIA driver.",
  });
});

test("reads how much memory the GPUs have, and how much of it is free", async () => {
  const env = await withNvidiaSmi(`
case "$1" in --query-gpu=uuid,memory.total,memory.free) ;; *) exit 1 ;; esac
echo "GPU-11111111-aaaa, 81559, 80999"
echo "GPU-22222222-bbbb, 24564, [N/A]"`);
  const found = await readGpuMemory(env);
  expect([...found]).toEqual([["GPU-11111111-aaaa", { totalBytes: 81559 * 2 ** 20, freeBytes: 80999 * 2 ** 20 }]]);
  expect((await readGpuMemory(await withNvidiaSmi("exit 9"))).size).toBe(0);
});

import { expect, test } from "vitest";
import { configSchema } from "../../common/config/schema.ts";
import { resolveGpt2Config } from "../../common/config/sizes.ts";
import { plain } from "../../coordinator/cli/colors.ts";
import { examineDisk } from "../../coordinator/doctor/configuration.ts";
import { formatFinding } from "../../coordinator/doctor/finding.ts";
import { clockFindings, linkFindings } from "../../coordinator/doctor/cluster.ts";
import { judgeMemory } from "../../coordinator/doctor/memory.ts";
import { memoryNeed, onDevice, onHost } from "../../coordinator/doctor/memory-need.ts";
import { examineClock, examineGpus, examineProcessors } from "../../coordinator/doctor/machine.ts";

const gpu = (uuid: string) => ({ name: "NVIDIA H100", uuid });
const listing =
  (...gpus: { name: string; uuid: string }[]) =>
  () =>
    Promise.resolve({ kind: "known" as const, gpus });

test("GPUs are counted by name, and one that is listed twice is a failure", async () => {
  expect(await examineGpus(listing(gpu("GPU-a"), gpu("GPU-b")), {})).toEqual([
    { level: "ok", area: "devices", sentence: "2 x NVIDIA H100" },
  ]);
  const twice = await examineGpus(listing(gpu("GPU-a"), gpu("GPU-a")), {});
  expect(twice[1]).toEqual({
    level: "fail",
    area: "devices",
    sentence: "NVIDIA H100 is there twice, with UUID GPU-a",
  });
});

test("a CUDA_VISIBLE_DEVICES that leaves no GPU is named", async () => {
  const [finding] = await examineGpus(listing(), { CUDA_VISIBLE_DEVICES: "7" });
  expect(finding!.level).toBe("warn");
  expect(finding!.sentence).toContain("CUDA_VISIBLE_DEVICES=7 leaves none of them");
});

test("more workers than cores is a warning with both numbers", () => {
  const [finding] = examineProcessors(4096);
  expect(formatFinding(finding!, plain)).toMatch(/^warn {2}processors +\d+ cores for 4096 workers/);
});

test("a disk without room for the checkpoints that are kept and the next one is a failure", async () => {
  const checkpoint = { dir: "runs/of/nobody", keep: 3, every: 1 } as never;
  const [small] = await examineDisk({ checkpoint }, 1000);
  expect(small!.sentence).toMatch(/free in .*, 4 checkpoints of 1\.0kB need 4\.0kB$/);
  const [huge] = await examineDisk({ checkpoint }, 1e18);
  expect(huge!.level).toBe("fail");
  expect(huge!.sentence).toContain("lower checkpoint.keep 3");
});

test("a clock that nobody keeps in step is a warning", async () => {
  const levelOf = async (answer: string | undefined): Promise<unknown> =>
    (await examineClock(() => Promise.resolve(answer)))[0]!.level;
  expect(await levelOf("yes")).toBe("ok");
  expect(await levelOf("no")).toBe("warn");
  expect(await levelOf(undefined)).toBe("ok");
});

const micro = configSchema.parse({
  model: { size: "micro" },
  train: { steps: 1, microbatch: 8, sequence_length: 128, optimizer: { name: "adamw" } },
});

test("what a worker needs is reckoned from the shape of its model", () => {
  const model = { ...resolveGpt2Config(micro, 4096, 0) };
  const need = memoryNeed(model, micro);
  // 4.27 M parameters: 4 bytes each of weights and gradients, 8 of AdamW's state.
  const parameters = (4096 + 256) * 256 + 4 * (12 * 256 ** 2 + 13 * 256) + 2 * 256;
  expect([need.weights, need.gradients, need.optimizer]).toEqual([4 * parameters, 4 * parameters, 8 * parameters]);
  expect(need.copies).toBe(12 * parameters);
  expect(need.once).toBe(0);
  expect(memoryNeed(model, { ...micro, train: { ...micro.train, zero: 1 } }).once).toBe(12 * parameters);
  // 1,024 tokens, 16 widths and 8 x 128 probabilities in each of 4 blocks; logits three times.
  expect(need.activations).toBe(1.5 * 4 * 1024 * (4 * (16 * 256 + 8 * 128) + 3 * 4096));
  const recomputed = memoryNeed(model, { ...micro, train: { ...micro.train, recompute: "blocks" } });
  expect(recomputed.activations).toBe(1.5 * 4 * 1024 * (4 * 256 + 16 * 256 + 8 * 128 + 3 * 4096));
  const { optimizer } = configSchema.parse({ train: { optimizer: { name: "sgd", momentum: 0 } } }).train;
  expect(memoryNeed(model, { ...micro, train: { ...micro.train, optimizer } }).optimizer).toBe(0);
});

test("workers that share a GPU need its memory together, and each GPU is judged by what is free of it", () => {
  const need = { weights: 10e9, gradients: 10e9, optimizer: 20e9, activations: 5e9, copies: 30e9, once: 0 };
  expect([onDevice(need), onHost(need)]).toEqual([25e9, 75.19e9]);
  const gpus = new Map([
    ["GPU-a", { totalBytes: 80e9, freeBytes: 79e9 }],
    ["GPU-b", { totalBytes: 24e9, freeBytes: 23e9 }],
    ["GPU-c", { totalBytes: 24e9, freeBytes: 6e9 }],
  ]);
  const environment = (index: number) => ({ CUDA_VISIBLE_DEVICES: ["GPU-a", "GPU-b", "GPU-a", "GPU-c"][index]! });
  const found = judgeMemory(need, { workers: 4, environment }, { gpus, host: 1e12 });
  expect(found.map(({ level }) => level)).toEqual(["ok", "warn", "fail", "ok"]);
  expect(found[0]!.sentence).toBe(
    "reckoned, 2 workers need 50.0GB of the memory of GPU GPU-a (10.0GB of weights, 10.0GB of gradients, 5.0GB of activations each), 79.0GB are free",
  );
  expect(found[1]!.sentence).toContain("25.0GB of the memory of GPU GPU-b");
  expect(found[2]!.sentence).toMatch(/25\.0GB .* 6\.0GB are free; lower train\.microbatch/);
  // The optimizer's state stays with the host.
  expect(found[3]!.sentence).toMatch(
    /4 workers need 280\.8GB of this machine's memory \(weights and gradients again, 20\.0GB of optimizer/,
  );
  const [onCpu, ...none] = judgeMemory(need, { workers: 2, environment: () => ({}) }, { gpus, host: 64e9 });
  expect(none).toEqual([]);
  expect(onCpu!.level).toBe("fail");
  expect(onCpu!.sentence).toContain("2 workers need 150.4GB of this machine's memory");
  const zero = { ...need, once: 30e9 };
  const [divided] = judgeMemory(zero, { workers: 2, environment: () => ({}) }, { gpus, host: 200e9 });
  expect(divided!.sentence).toMatch(/2 workers need 120\.4GB of this machine's memory \(.* each, 30\.0GB of it once\)/);
});

const worker = (id: string, host: string, offsetSeconds: number | undefined, roundTripSeconds = 0.002) =>
  ({ id, host, clock: offsetSeconds === undefined ? null : { offsetSeconds, roundTripSeconds } }) as never;

test("clocks of a cluster are compared with the coordinator's, and a doubtful difference is no warning", () => {
  const found = clockFindings({
    workers: [
      worker("w0", "a", 0.0004),
      worker("w1", "b", -2.5),
      worker("w2", "c", 1.4, 1),
      worker("w3", "d", undefined),
    ],
  });
  expect(found.map(({ level }) => level)).toEqual(["ok", "warn", "ok", "ok"]);
  expect(found[0]!.sentence).toBe("worker w0 (host a) is 0.40 ms ahead of the coordinator, give or take 1.0 ms");
  expect(found[1]!.sentence).toMatch(/^worker w1 \(host b\) is 2500 ms behind .*limit 1 s.*time service$/);
});

test("a link that is slower than the others of its kind is a warning with both numbers", () => {
  const workers = [worker("w0", "a", 0), worker("w1", "a", 0), worker("w2", "b", 0), worker("w3", "c", 0)];
  const speeds: Record<string, number> = { "w0 w1": 1e9, "w1 w0": 1e9, "w0 w3": 2e7 };
  const links = ["w0", "w1", "w2", "w3"].flatMap((from) =>
    ["w0", "w1", "w2", "w3"]
      .filter((to) => to !== from)
      .map((to) => ({ from, to, bytesPerSecond: speeds[`${from} ${to}`] ?? 1.1e8, latencySeconds: 2e-4 })),
  );
  const found = linkFindings({ workers, links });
  expect(found).toHaveLength(12);
  expect(found.filter(({ level }) => level !== "ok").map(({ sentence }) => sentence)).toEqual([
    "w0 to w3 (a to c): 20.0MB/s, 0.20 ms, where the median is 110.0MB/s: the ring is as fast as this",
  ]);
  expect(found[0]!.sentence).toBe("w0 to w1 (on one host, over a socket): 1.0GB/s, 0.20 ms");
  expect(linkFindings({ workers, links: [] })[0]!.level).toBe("fail");
});

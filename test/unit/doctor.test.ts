import { expect, test } from "vitest";
import { plain } from "../../coordinator/cli/colors.ts";
import { examineDisk } from "../../coordinator/doctor/configuration.ts";
import { formatFinding } from "../../coordinator/doctor/finding.ts";
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

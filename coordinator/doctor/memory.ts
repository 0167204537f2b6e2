// Whether the workers of a run fit in the memory there is: of each GPU where GPUs compute, of this machine otherwise. Before one is
// started, by what memory-need.ts reckons; the dry run measures afterwards.

import type { Config } from "../../common/config/schema.ts";
import { resolveModelConfig } from "../../common/config/sizes.ts";
import { describeError } from "../../common/errors.ts";
import { readGpuMemory, type GpuMemory } from "../../common/nvidia.ts";
import { headOf } from "../../common/task.ts";
import { describeQuantity } from "../cli/quantities.ts";
import type { PreparedData } from "../data/prepare.ts";
import type { DevicePlan } from "../devices.ts";
import { readModelConfig } from "../model-config.ts";
import { fail, ok, warn, type Finding } from "./finding.ts";
import { availableMemory } from "./machine.ts";
import { memoryNeed, onDevice, onHost, PROCESS_BYTES, type MemoryNeed } from "./memory-need.ts";

/** What is reckoned may be off by so much (docs/models.md): more than that too large does not fit. */
const MARGIN = 0.75;

const advice =
  "lower train.microbatch or train.sequence_length, set train.recompute: blocks, or train an adapter (lora)";

/** The memory of the machine that is looked at. */
export interface Memories {
  readonly gpus: ReadonlyMap<string, GpuMemory>;
  /** Undefined where that is not known. */
  readonly host: number | undefined;
}

/** Nothing is started. */
export async function examineMemory(
  config: Config,
  { tokenizer, task }: Pick<PreparedData, "tokenizer" | "task">,
  devices: Pick<DevicePlan, "workers" | "environment">,
  memories?: Memories,
): Promise<Finding[]> {
  let need: MemoryNeed;
  try {
    const { from } = config.model;
    const model =
      from === undefined
        ? resolveModelConfig(config, tokenizer, task)
        : (await readModelConfig(from, "model", headOf(config.task.kind))).json;
    need = memoryNeed({ ...model }, config);
  } catch (error) {
    return [ok("need", `what a worker needs can't be reckoned before the dry run: ${describeError(error)}`)];
  }
  const { gpus, host } = memories ?? { gpus: await readGpuMemory(), host: await availableMemory() };
  return judgeMemory(need, devices, { gpus, host });
}

/** Every GPU that workers are pinned to, or the machine's memory where there is none. */
export function judgeMemory(
  need: MemoryNeed,
  { workers, environment }: Pick<DevicePlan, "workers" | "environment">,
  { gpus, host }: Memories,
): Finding[] {
  const pinned = new Map<string, number>();
  for (let index = 0; index < workers; index++) {
    const uuid = environment(index)["CUDA_VISIBLE_DEVICES"] ?? "";
    if (gpus.has(uuid)) pinned.set(uuid, (pinned.get(uuid) ?? 0) + 1);
  }
  const bytes = (value: number): string => `${describeQuantity(value)}B`;
  const { weights, gradients, optimizer, activations, copies, once } = need;
  const parts = `${bytes(weights)} of weights, ${bytes(gradients)} of gradients, ${bytes(activations)} of activations`;
  const judged = (each: number, count: number, place: string, free: number, once = 0): Finding => {
    const total = each * count - once * (count - 1);
    const who = count === 1 ? "a worker needs" : `${count} workers need`;
    const sentence = `reckoned, ${who} ${bytes(total)} of ${place}, ${bytes(free)} are free`;
    if (MARGIN * total > free) return fail("need", `${sentence}; ${advice}`);
    return total > free ? warn("need", `${sentence}, which may not do; ${advice}`) : ok("need", sentence);
  };
  const findings = [...pinned].map(([uuid, count]) =>
    judged(onDevice(need), count, `the memory of GPU ${uuid} (${parts} each)`, gpus.get(uuid)!.freeBytes),
  );
  if (host === undefined) return findings;
  const rest = `${bytes(optimizer)} of optimizer state, ${bytes(copies)} to copy a checkpoint, ${bytes(PROCESS_BYTES)} of programs`;
  const all = pinned.size > 0 ? `weights and gradients again, ${rest}` : `${parts}, ${rest}`;
  const onEach = pinned.size > 0 ? onHost(need) - activations : onHost(need);
  const shared = once === 0 ? "" : `, ${bytes(once)} of it once`;
  return [...findings, judged(onEach, workers, `this machine's memory (${all} each${shared})`, host, once)];
}

// What train.compression, train.local_steps and train.zero do not go together with, see docs/compression.md and docs/zero.md.

import type { Problem } from "./rules.ts";
import type { Config } from "./schema.ts";

/** One message carries a worker's rows of a whole round, as token ids and targets of 4 bytes each. */
const mostRoundBytes = 64 * 1024 * 1024;
/** More would leave each too few steps, see worker/compression/int8-gradients.ts. */
export const mostRanksOfInt8 = 64;

export function exchangeRules({ train, cluster }: Config): Problem[] {
  const problems: Problem[] = [];
  const { compression, local_steps: localSteps } = train;
  const isCompressed = compression.method !== "none";
  if (isCompressed && train.bit_identical) {
    const path = "train.compression.method";
    const message = `${compression.method} rounds what each worker sends, so results depend on their number, and train.bit_identical is true; choose one of them`;
    problems.push({ path, message, involves: [path, "train.bit_identical"] });
  }
  if (compression.method === "int8" && cluster.workers !== "auto" && cluster.workers > mostRanksOfInt8) {
    const path = "train.compression.method";
    const message = `int8 shares its 254 steps among cluster.workers ${cluster.workers}, and ${mostRanksOfInt8} are the most; use bf16, topk or powersgd`;
    problems.push({ path, message, involves: [path, "cluster.workers"] });
  }
  if ((isCompressed || localSteps > 1) && train.overlap === "on") {
    const path = "train.overlap";
    const why = isCompressed ? `train.compression.method ${compression.method}` : `train.local_steps ${localSteps}`;
    const message = `on reduces gradients while others are computed, and ${why} begins with all of them; use auto`;
    const field = isCompressed ? "train.compression.method" : "train.local_steps";
    problems.push({ path, message, involves: [path, field] });
  }
  if (localSteps === 1) return problems;
  const path = "train.local_steps";
  if (train.bit_identical) {
    const message = `${localSteps} lets every worker go its own way, so results depend on their number, and train.bit_identical is true; choose one of them`;
    problems.push({ path, message, involves: [path, "train.bit_identical"] });
  }
  if (train.precision === "fp16") {
    const message = `${localSteps} local steps have no common gradient by which train.precision fp16 could choose its loss scale; use bf16 or fp32`;
    problems.push({ path, message, involves: [path, "train.precision"] });
  }
  if (train.zero === 1) {
    const message = `${localSteps} lets every worker change weights of its own, and train.zero 1 has them once for all workers of a host; choose one of them`;
    problems.push({ path, message, involves: [path, "train.zero"] });
  }
  const rows = localSteps * train.global_batch;
  const bytes = 8 * rows * train.sequence_length;
  if (bytes > mostRoundBytes) {
    const most = Math.floor(mostRoundBytes / (8 * train.global_batch * train.sequence_length));
    const message = `${localSteps} steps of train.global_batch ${train.global_batch} times train.sequence_length ${train.sequence_length} are ${bytes} bytes of tokens, and ${mostRoundBytes} fit into a plan; use at most ${Math.max(1, most)}, or a smaller batch`;
    problems.push({ path, message, involves: [path, "train.global_batch", "train.sequence_length"] });
  }
  return problems;
}

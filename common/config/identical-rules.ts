// What train.bit_identical needs, see docs/reproducibility.md: a device and a number of threads whose results repeat, and batches
// whose losses can be summed exactly.

import type { Problem } from "./rules.ts";
import type { Config } from "./schema.ts";

/** Devices whose kernels add in a fixed order. */
const repeatable = ["cpu", "wasm"];
/** Sums of losses are exact in double precision up to 2^29 nats: 32 for each of so many tokens. */
const exactTokens = 2 ** 24;

export function identicalRules({ train, cluster }: Config): Problem[] {
  if (!train.bit_identical) return [];
  const path = "train.bit_identical";
  const problems: Problem[] = [];
  const need = (field: string, message: string, ...others: string[]): void =>
    void problems.push({ path, message, involves: [path, field, ...others] });
  if (cluster.threads === "auto") {
    need(
      "cluster.threads",
      "needs a number of threads, because results differ in their last bits with it, and cluster.threads is auto, which follows the workers of a host; set it to 1, say",
    );
  }
  if (!repeatable.includes(cluster.device)) {
    const why = cluster.device === "auto" ? "may take a GPU" : "is no device of which that is known";
    need(
      "cluster.device",
      `needs a device that adds in a fixed order, and cluster.device ${cluster.device} ${why}; set it to ${cluster.engine === "onnx" ? "cpu" : "wasm"}`,
    );
  }
  if (train.overlap === "on") {
    need("train.overlap", "sums integers in one piece, and train.overlap is on; leave it at auto");
  }
  for (const field of ["global_batch", "eval_sequences"] as const) {
    const tokens = train[field] * train.sequence_length;
    if (tokens <= exactTokens) continue;
    need(
      `train.${field}`,
      `sums the losses of at most ${exactTokens} tokens exactly, and train.${field} ${train[field]} times train.sequence_length ${train.sequence_length} are ${tokens}; use at most ${Math.floor(exactTokens / train.sequence_length)}`,
      "train.sequence_length",
    );
  }
  return problems;
}

// `make bench-identical`: what train.bit_identical costs over whole steps: tokens/s of the same run with and without it, in turns, with
// one worker and with two, of a batch in one microbatch and in four. Nothing here passes or fails.

import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { median } from "../../common/median.ts";
import { tokensPerSecond, trainOurs } from "./train-step.ts";

const rounds = Number(process.env["RINGTUNE_BENCH_ROUNDS"] ?? 3);

const folder = await mkdtemp(join(tmpdir(), "ringtune-identical-"));
try {
  for (const workers of [1, 2]) {
    for (const microbatch of [8, 2]) {
      const speeds: Record<"with" | "without", number[]> = { with: [], without: [] };
      for (let round = 0; round < rounds; round++) {
        // Who goes first changes, so that whatever else the machine does meets both.
        const ways = round % 2 === 0 ? (["with", "without"] as const) : (["without", "with"] as const);
        for (const way of ways) {
          const settings = {
            "train.bit_identical": way === "with",
            "train.microbatch": microbatch,
            "cluster.device": "cpu",
          };
          const steps = await trainOurs(workers, folder, `${workers}-${microbatch}-${way}-${round}`, settings);
          speeds[way].push(tokensPerSecond(workers, steps));
        }
      }
      const cost = median(speeds.with.map((speed, round) => 1 - speed / speeds.without[round]!));
      const [slow, fast] = [speeds.with, speeds.without].map((each) => `${Math.round(median(each))} tokens/s`);
      const what = `${workers} worker${workers === 1 ? "" : "s"}, microbatches of ${microbatch}`;
      console.log(
        `${what.padEnd(30)} with ${slow}, without ${fast}: ${(100 * cost).toFixed(1)}% slower (median of ${rounds} pairs)`,
      );
    }
  }
} finally {
  await rm(folder, { recursive: true, force: true });
}

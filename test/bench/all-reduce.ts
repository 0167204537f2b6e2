// `make bench-allreduce`: the all-reduce between processes on one host, over shared memory and over TCP, beside gloo in the same
// run. Ours and theirs take turns, niced alike by the Makefile, so that whatever else the machine does meets both; a ratio
// is the median of the rounds' ratios of bus bandwidth. RINGTUNE_PEERS names the folder with allreduce_gloo.py.
//
//   node dist/test/bench/all-reduce.js [--ranks 2,4] [--mb 0.064,1,10,100] [--iterations 10] [--rounds 3]

import { execFile } from "node:child_process";
import { join } from "node:path";
import { parseArgs, promisify } from "node:util";
import type { Reach } from "../../worker/collective/address.ts";
import { bandwidthOf, benchAllReduce } from "../../worker/bench/all-reduce.ts";
import { median } from "../../common/median.ts";

const execute = promisify(execFile);
const { values } = parseArgs({
  options: {
    ranks: { type: "string", default: "2,4" },
    mb: { type: "string", default: "0.064,1,10,100" },
    iterations: { type: "string", default: "10" },
    rounds: { type: "string", default: "3" },
  },
});
const numbers = (list: string): number[] => list.split(",").map(Number);
const megabytes = numbers(values.mb);
const iterations = Number(values.iterations);

/** Seconds of each round, by what was measured and size. */
type Times = Map<string, number[]>;

const ways: readonly Reach[] = ["memory", "tcp"];

for (const ranks of numbers(values.ranks)) {
  const times: Times = new Map();
  const note = (name: string, mb: number, seconds: number): void => {
    const key = `${name} ${mb}`;
    times.set(key, [...(times.get(key) ?? []), seconds]);
  };
  for (let round = 0; round < Number(values.rounds); round++) {
    for (const reach of ways) {
      for (const { sizeBytes, seconds, limitSeconds } of await benchAllReduce({
        ...{ ranks, iterations, reach },
        sizesBytes: megabytes.map((mb) => mb * 1e6),
      })) {
        note(reach, sizeBytes / 1e6, seconds);
        if (reach === "memory") note("limit", sizeBytes / 1e6, limitSeconds);
      }
      for (const { mb, ms } of await measureGloo(ranks)) note(`gloo beside ${reach}`, mb, ms / 1000);
    }
  }
  print(ranks, times);
}

function print(ranks: number, times: Times): void {
  console.log(`\n${ranks} ranks; busbw in GB/s, medians of ${values.rounds} rounds of ${iterations}`);
  console.log("       MB |  memory    algbw   limit  share |     tcp |    gloo | memory/gloo  tcp/gloo (per round)");
  for (const mb of megabytes) {
    const busbw = (name: string): number =>
      bandwidthOf(mb * 1e6, ranks, median(times.get(`${name} ${mb}`) ?? [])).busbw;
    const ratios = (reach: Reach): number[] => {
      const peers = times.get(`gloo beside ${reach} ${mb}`) ?? [];
      return peers.map((seconds, round) => seconds / times.get(`${reach} ${mb}`)![round]!);
    };
    const cell = (value: number): string => (value / 1e9).toFixed(3).padStart(7);
    const told = (each: number[]): string =>
      `${median(each).toFixed(2)} (${each.map((ratio) => ratio.toFixed(2)).join(" ")})`;
    const algbw = bandwidthOf(mb * 1e6, ranks, median(times.get(`memory ${mb}`)!)).algbw;
    const share = `${((100 * busbw("memory")) / busbw("limit")).toFixed(0)} %`;
    console.log(
      `${String(mb).padStart(9)} | ${cell(busbw("memory"))}  ${cell(algbw)} ${cell(busbw("limit"))} ${share.padStart(6)} | ` +
        `${cell(busbw("tcp"))} | ${cell(busbw("gloo beside memory"))} | ${told(ratios("memory"))}  ${told(ratios("tcp"))}`,
    );
  }
}

/** Nothing, with the reason printed, when the peer is not there. */
async function measureGloo(ranks: number): Promise<{ mb: number; ms: number }[]> {
  const folder = process.env["RINGTUNE_PEERS"];
  if (folder === undefined || folder === "") return [];
  const sizes = megabytes.map(String);
  const args = [
    join(folder, "allreduce_gloo.py"),
    "--world",
    String(ranks),
    "--iters",
    String(iterations),
    "--mb",
    ...sizes,
  ];
  try {
    const { stdout } = await execute("/usr/bin/python3", args);
    return stdout
      .trim()
      .split("\n")
      .map((line) => JSON.parse(line) as { mb: number; ms: number });
  } catch (error) {
    console.log(`gloo is left out: ${(error as Error).message.trim().split("\n").at(-1)}`);
    return [];
  }
}

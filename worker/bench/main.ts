// `ringtune bench`: what this machine reaches, in the terms of the field. `bench allreduce` sums buffers between processes of
// this host and prints a table as nccl-tests does.

import {
  Command,
  InvalidArgumentError,
  makeStrict,
  Option,
  runProgram,
  wholeNumber,
} from "../../common/command-line.ts";
import type { Reach } from "../collective/address.ts";
import { bandwidthOf, benchAllReduce } from "./all-reduce.ts";

interface Options {
  readonly ranks: number;
  readonly sizes: readonly number[];
  readonly iterations: number;
  readonly reach: Reach;
  readonly encrypted: boolean;
}

const command = new Command("ringtune bench").description("Measure this machine.");
command
  .command("allreduce")
  .description("Sum buffers between processes of this host: time, algbw and busbw as nccl-tests defines them.")
  .option("--ranks <n>", "processes", wholeNumber(2), 2)
  .option("--sizes <list>", "sizes of the buffer, such as 64KB,10MB", parseSizes, [64e3, 1e6, 10e6, 100e6])
  .option("--iterations <n>", "all-reduces per size, of which the median counts", wholeNumber(1), 20)
  .addOption(
    new Option("--reach <way>", "the fastest way that they may use: memory, ipc or tcp")
      .choices(["memory", "ipc", "tcp"])
      .default("memory"),
  )
  .option("--encrypted", "with CURVE, as between workers that have certificates; shared memory needs none", false)
  .action(allReduce);

async function allReduce({ ranks, sizes, iterations, reach, encrypted }: Options): Promise<void> {
  const rows = await benchAllReduce({ ranks, sizesBytes: sizes, iterations, reach, encrypted });
  const gigabytes = (bytesPerSecond: number): string => (bytesPerSecond / 1e9).toFixed(2).padStart(7);
  console.log(`${rows[0]?.path ?? "nothing to measure"}; medians of ${iterations}; GB/s`);
  console.log("       size      time us    algbw    busbw   memory's limit    share   extra MB");
  for (const { sizeBytes, seconds, limitSeconds, extraBytes } of rows) {
    const { algbw, busbw } = bandwidthOf(sizeBytes, ranks, seconds);
    const limit = bandwidthOf(sizeBytes, ranks, limitSeconds).busbw;
    const share = `${((100 * busbw) / limit).toFixed(0)} %`;
    console.log(
      `${describeSize(sizeBytes).padStart(11)} ${(seconds * 1e6).toFixed(1).padStart(12)}  ${gigabytes(algbw)}  ${gigabytes(busbw)} ` +
        `${gigabytes(limit).padStart(16)} ${share.padStart(8)} ${(extraBytes / 1e6).toFixed(0).padStart(10)}`,
    );
  }
}

function parseSizes(list: string): number[] {
  return list.split(",").map((text) => {
    const [, digits = "", unit = ""] = /^(\d+(?:\.\d+)?)(KB|MB|GB)$/i.exec(text.trim()) ?? [];
    const bytes = Number(digits) * { "": Number.NaN, KB: 1e3, MB: 1e6, GB: 1e9 }[unit.toUpperCase()]!;
    if (!(bytes >= 64)) throw new InvalidArgumentError(`${JSON.stringify(text)} is no size such as 64KB or 10MB.`);
    return bytes;
  });
}

function describeSize(bytes: number): string {
  return bytes >= 1e6 ? `${bytes / 1e6} MB` : `${bytes / 1e3} KB`;
}

await runProgram("ringtune bench", async () => {
  await makeStrict(command).parseAsync();
});

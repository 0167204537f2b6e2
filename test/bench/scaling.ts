// `make bench-scaling`: tokens/s of two workers over twice one worker's, each worker pinned to a core, training all parameters and
// LoRA adapters, beside PyTorch DDP over gloo (ddp_gpt.py) in turns; and what two workers' longer step is made of. Whole runs, with
// coordinator and all, which nobody pins. Nothing here passes or fails. Needs Linux, for /proc and taskset.

import { execFile, type ChildProcess } from "node:child_process";
import { mkdtemp, readdir, readFile, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as delay } from "node:timers/promises";
import { promisify } from "node:util";
import { median } from "../../common/median.ts";
import type { StepRecord } from "../../common/records.ts";
import { tokensPerSecond, trainOurs, trainPeer } from "./train-step.ts";

const execute = promisify(execFile);
const peers = process.env["RINGTUNE_PEERS"] || undefined;
const rounds = Number(process.env["RINGTUNE_BENCH_ROUNDS"] ?? 5);

/** One way to train: tokens/s of one worker and of two, a number for each round. */
interface Row {
  readonly name: string;
  readonly speeds: readonly [number[], number[]];
  train(workers: number, name: string): Promise<number | undefined>;
}

const folder = await mkdtemp(join(tmpdir(), "ringtune-scaling-"));
const all = ours("ringtune, all parameters", {});
const zero = ours("ringtune, train.zero 1", { "train.zero": 1 });
const lora = ours("ringtune, LoRA of rank 8", { "model.from": join(folder, "base/latest"), "lora.rank": 8 });
const ddp: Row = {
  name: "PyTorch DDP, tuned",
  speeds: [[], []],
  train: async (workers) =>
    peers === undefined
      ? undefined
      : trainPeer(peers, workers, true, (child) => void pin(child, workers, workers === 1 ? "self" : /spawn_main/)),
};
try {
  // Adapters need a model that has learned something.
  await trainOurs(1, folder, "base");
  for (let round = 0; round < rounds; round++) {
    for (const row of [all, zero, lora, ddp]) {
      for (const workers of [1, 2]) {
        const speed = await row.train(workers, `${round}`);
        if (speed !== undefined) row.speeds[workers - 1]!.push(speed);
      }
    }
  }
} finally {
  await rm(folder, { recursive: true, force: true });
}
console.log(
  `${"".padEnd(26)} 1 worker      2 workers     two over twice one (${rounds} rounds: median, range; best rounds)`,
);
for (const { name, speeds } of [all, zero, lora, ddp].filter((row) => row.speeds[1].length === rounds)) {
  const [one, two] = speeds.map((each) => `${Math.round(median(each))} tok/s`.padEnd(13));
  const shares = speeds[1].map((speed, round) => speed / (2 * speeds[0][round]!));
  const range = [Math.min(...shares), Math.max(...shares)].map((share) => share.toFixed(3)).join(" to ");
  const best = Math.max(...speeds[1]) / (2 * Math.max(...speeds[0]));
  console.log(`${name.padEnd(26)} ${one} ${two} ${median(shares).toFixed(3)} (${range}); ${best.toFixed(3)}`);
}
for (const { name, parts } of [all, zero, lora]) {
  console.log(
    `\n${name}: what a step takes (medians of all rounds; each part is that of its slowest worker, so they add up to more)`,
  );
  for (const part of Object.keys(parts[0][0]!) as (keyof Parts)[]) {
    const [one, two] = parts.map((each) => median(each.map((step) => step[part])) * 1000);
    const more = `${two! - one! < 0 ? "" : "+"}${(two! - one!).toFixed(1)}`;
    console.log(`  ${part.padEnd(22)} ${one!.toFixed(1).padStart(7)} ms ${two!.toFixed(1).padStart(7)} ms  ${more}`);
  }
}

type Parts = ReturnType<typeof partsOf>;

function ours(
  name: string,
  settings: Readonly<Record<string, string | number | boolean>>,
): Row & {
  readonly parts: readonly [Parts[], Parts[]];
} {
  const parts: [Parts[], Parts[]] = [[], []];
  return {
    name,
    parts,
    speeds: [[], []],
    async train(workers, round) {
      const run = `${name}-${workers}-${round}`.replaceAll(/[^a-z0-9-]/gi, "-");
      const steps = await trainOurs(
        workers,
        folder,
        run,
        settings,
        (child) => void pin(child, workers, /worker\/main/),
      );
      parts[workers - 1]!.push(...steps.map(partsOf));
      return tokensPerSecond(workers, steps);
    },
  };
}

function partsOf({ seconds }: StepRecord) {
  const { compute, allReduce, commit, total } = seconds;
  return {
    "forward and backward": compute,
    "all-reduce and waiting": allReduce,
    "commit and optimizer": commit,
    step: total,
  };
}

/** Each worker to a core of its own, all its threads, as soon as all are there. */
async function pin(child: ChildProcess, workers: number, who: RegExp | "self"): Promise<void> {
  let pids: number[] = [];
  while (child.exitCode === null && child.signalCode === null) {
    pids = who === "self" ? [child.pid!] : await childrenOf(child.pid!, who);
    if (pids.length === workers) break;
    await delay(20);
  }
  if (pids.length !== workers) throw new Error(`${pids.length} of ${workers} workers were seen before the run ended`);
  await Promise.all(pids.map((pid, core) => execute("taskset", ["-a", "-p", "-c", String(core), String(pid)])));
}

async function childrenOf(parent: number, who: RegExp): Promise<number[]> {
  const pids = (await readdir("/proc")).map(Number).filter((pid) => pid > 0);
  const there = await Promise.all(
    pids.map(async (pid) => {
      const read = (name: string): Promise<string> => readFile(`/proc/${pid}/${name}`, "utf8").catch(() => "");
      const isChild = (await read("status")).includes(`\nPPid:\t${parent}\n`);
      return isChild && who.test(await read("cmdline")) ? [pid] : [];
    }),
  );
  return there.flat();
}

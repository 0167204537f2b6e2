// `make bench-overlap`: what it brings that gradients travel while others are computed (train.overlap): the 4 M model on two workers,
// each pinned to a core, with and without it in turns: on one host, and on two (this one and a network namespace) with a cable
// that tc slows down. Steps, computation, and what is waited for after it. For root on Linux; nothing here passes or fails.

import { spawn, type ChildProcess } from "node:child_process";
import { once } from "node:events";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { markdownTable } from "../../common/markdown-table.ts";
import { median } from "../../common/median.ts";
import { packageRoot } from "../../common/package-root.ts";
import type { StepRecord } from "../../common/records.ts";
import { noSlowCable, openOtherHost } from "../support/network-namespace.ts";
import { cli, ourArguments, stepsOf } from "./train-step.ts";

const rounds = Number(process.env["RINGTUNE_BENCH_ROUNDS"] ?? 3);
const wires = [
  { name: "none: one host", rate: undefined, steps: 24 },
  { name: "1 Gb/s", rate: "1gbit", steps: 24 },
  { name: "100 Mb/s", rate: "100mbit", steps: 12 },
];

const folder = await mkdtemp(join(tmpdir(), "ringtune-overlap-"));
try {
  const rows: string[][] = [];
  for (const wire of wires) {
    if (wire.rate !== undefined && noSlowCable !== undefined) {
      console.log(`${wire.name} is left out: ${noSlowCable}`);
      continue;
    }
    const ways = { off: [] as StepRecord[], on: [] as StepRecord[] };
    for (let round = 0; round < rounds; round++) {
      for (const way of ["off", "on"] as const) ways[way].push(...(await train(wire, way, round)));
    }
    for (const [way, steps] of Object.entries(ways)) {
      const ms = (pick: (step: StepRecord) => number): string => `${(median(steps.map(pick)) * 1000).toFixed(0)} ms`;
      const { compute, allReduce, total } = {
        compute: ms(({ seconds }) => seconds.compute),
        allReduce: ms(({ seconds }) => seconds.allReduce),
        total: ms(({ seconds }) => seconds.total),
      };
      rows.push([wire.name, way, compute, allReduce, total]);
    }
  }
  const head = ["wire", "train.overlap", "computes", "then waits for the all-reduce", "step"];
  console.log(`2 workers, medians of ${rounds} rounds in turns\n\n${markdownTable([head, ...rows])}`);
} finally {
  await rm(folder, { recursive: true, force: true });
}

async function train(wire: (typeof wires)[number], way: "off" | "on", round: number): Promise<StepRecord[]> {
  const name = `${wires.indexOf(wire)}-${way}-${round}`;
  const other = wire.rate === undefined ? undefined : openOtherHost({ rate: wire.rate });
  const children: ChildProcess[] = [];
  /** Ends when the process does; rejects if it fails. */
  const ringtune = async (prefix: readonly string[], args: readonly string[], seen?: (text: string) => void) => {
    const [command = "", ...rest] = [...prefix, process.execPath, cli, ...args];
    const child = spawn(command, rest, { cwd: packageRoot, stdio: ["ignore", "pipe", "inherit"] });
    children.push(child);
    child.stdout.setEncoding("utf8").on("data", (text: string) => seen?.(text));
    const [code] = (await once(child, "close")) as [number | null];
    if (code !== 0) throw new Error(`ringtune ${args[0]} ended with ${code}`);
  };
  const more = { "train.overlap": way, "train.steps": wire.steps, "cluster.host": other?.here ?? "127.0.0.1" };
  let printed = "";
  let listens: (match: RegExpExecArray) => void;
  const listening = new Promise<RegExpExecArray>((resolve) => (listens = resolve));
  try {
    const coordinator = ringtune([], ["coordinator", ...ourArguments(2, folder, name, more), "--insecure"], (text) => {
      printed += text;
      const match = /worker --coordinator (\S+) --token-file (\S+)/.exec(printed);
      if (match !== null) listens(match);
    });
    const [, address = "", token = ""] = await Promise.race([listening, coordinator.then(() => [])]);
    const asked = ["worker", "--coordinator", address, "--token-file", token, "--insecure"];
    const workers = [[], other?.prefix ?? []].map((prefix, core) =>
      ringtune(["taskset", "-c", String(core), ...prefix], asked),
    );
    await Promise.all([coordinator, ...workers]);
    return await stepsOf(folder, name);
  } finally {
    for (const child of children) child.kill("SIGKILL");
    other?.close();
  }
}

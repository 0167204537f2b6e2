// `make bench-failover`: what the loss of the leading coordinator costs, of three on a real etcd with two workers: from its
// SIGKILL, or its SIGSTOP, to the next step that its successor commits. After each round another stands by in its place. The
// model is tiny, so that the time is that of the election, the recovery and the workers' return. Nothing here passes or fails.

import { spawn, type ChildProcess } from "node:child_process";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { quantile } from "../../common/median.ts";
import { packageRoot } from "../../common/package-root.ts";
import { followRecords } from "../../coordinator/chaos/records.ts";
import { now } from "../../coordinator/rpc/driver.ts";
import { startEtcd } from "../support/etcd.ts";
import { freePort } from "../support/free-port.ts";

const rounds = Number(process.env["RINGTUNE_BENCH_ROUNDS"] ?? 10);
const stopped = Number(process.env["RINGTUNE_BENCH_STOPS"] ?? 3);
/** Steps between the rounds. */
const quietSteps = 20;
const never = new AbortController().signal;

interface Program {
  readonly child: ChildProcess;
  /** When the output first had this. */
  said(pattern: RegExp): Promise<number>;
}

function program(args: readonly string[]): Program {
  const child = spawn(process.execPath, [join(packageRoot, "dist/coordinator/cli/main.js"), ...args], {
    stdio: ["ignore", "pipe", "pipe"],
  });
  let output = "";
  const watchers = new Set<() => void>();
  for (const stream of [child.stdout, child.stderr]) {
    stream.setEncoding("utf8").on("data", (text: string) => {
      output += text;
      watchers.forEach((look) => look());
    });
  }
  const said = (pattern: RegExp): Promise<number> =>
    new Promise((resolve, reject) => {
      const look = (): void => {
        if (!pattern.test(output)) return;
        watchers.delete(look);
        resolve(now());
      };
      watchers.add(look);
      look();
      child.once("close", () => reject(new Error(`ended without saying ${pattern}:\n${output}`)));
    });
  return { child, said };
}

const folder = await mkdtemp(join(tmpdir(), "ringtune-failover-"));
const etcd = await startEtcd();
const programs: Program[] = [];
const begin = (args: readonly string[]): Program => {
  const started = program(args);
  programs.push(started);
  return started;
};
const records = followRecords(join(folder, "run/metrics.jsonl"));
try {
  const ports = await Promise.all([freePort(), freePort(), freePort()]);
  const coordinate = (port: number): Program => {
    const sets = [
      ...["cluster.workers=2", `cluster.store={kind: etcd, endpoints: ["${etcd.endpoints[0]}"]}`],
      ...[`cluster.port=${port}`, `checkpoint.dir=${folder}`, "checkpoint.name=run"],
    ].flatMap((set) => ["--set", set]);
    return begin(["coordinator", join(packageRoot, "examples/soak.yaml"), ...sets]);
  };
  const waiting: { program: Program; port: number }[] = [];
  for (const port of ports) {
    const next = { program: coordinate(port), port };
    await next.program.said(waiting.length === 0 ? /elected/ : /standing by/);
    waiting.push(next);
  }
  await waiting[0]!.program.said(/ringtune worker --coordinator/);
  const addresses = ports.map((port) => `127.0.0.1:${port}`).join(",");
  const token = join(folder, "run/join-token");
  for (let i = 0; i < 2; i++) begin(["worker", "--coordinator", addresses, "--token-file", token]);
  await records.when(({ step }) => step > quietSteps, never);

  const measure = async (signal: "SIGKILL" | "SIGSTOP"): Promise<{ elected: number; committed: number }> => {
    const [leader, successor] = [waiting.shift()!, waiting[0]!];
    const { generation } = records.last!;
    const atMs = now();
    leader.program.child.kill(signal);
    const electedMs = await successor.program.said(/elected/);
    const next = await records.when((record) => record.generation > generation, never);
    leader.program.child.kill("SIGKILL");
    const fresh = { program: coordinate(leader.port), port: leader.port };
    await fresh.program.said(/standing by/);
    waiting.push(fresh);
    await records.when(({ step }) => step > next.step + quietSteps, never);
    return { elected: electedMs - atMs, committed: next.timeMs - atMs };
  };
  const report = async (what: string, signal: "SIGKILL" | "SIGSTOP", count: number): Promise<void> => {
    const times = [];
    for (let i = 0; i < count; i++) times.push(await measure(signal));
    if (count === 0) return;
    const line = (name: string, values: readonly number[]): void => {
      const [median, worst] = [0.5, 1].map((q) => `${Math.round(quantile(values, q))} ms`.padStart(8));
      console.log(`  ${name.padEnd(34)} ${median}   worst ${worst}`);
    };
    console.log(`from ${what} of the leader, medians of ${count}`);
    line("another is elected", times.map(({ elected }) => elected)); // prettier-ignore
    line("it has committed a step", times.map(({ committed }) => committed)); // prettier-ignore
  };
  await report("SIGKILL", "SIGKILL", rounds);
  await report("SIGSTOP", "SIGSTOP", stopped);
  const { duplicated, lost } = records.last!.ledger!;
  console.log(`  samples duplicated ${duplicated}, lost ${lost}; steps recorded twice ${records.repeated.length}`);
} finally {
  await records.close();
  for (const { child } of programs) child.kill("SIGKILL");
  await etcd.stop();
  await rm(folder, { recursive: true, force: true, maxRetries: 3 });
}

// Bus bandwidth of the all-reduce between real processes on one host, reported the way nccl-tests does: the clock starts
// after a barrier and stops when rank 0 holds the sum; algbw = S/t, busbw = S/t * 2(n-1)/n; median over the iterations.
// With RINGTUNE_PEERS naming a folder that holds allreduce_gloo.py, and torch importable, gloo runs in between and ratios
// are printed. cores/rank is the CPU time of rank 0 over the time of the call, since that core also computes.
//
//   node dist/test/bench/all-reduce.js [--world 2 4] [--mb 1 10 100] [--iters 10] [--segment-kib 256] [--window 16]

import { execFile, fork, type ChildProcess } from "node:child_process";
import { existsSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { parseArgs, promisify } from "node:util";
import { defaultRingOptions } from "../../worker/collective/endpoint.ts";
import type { RingOptions } from "../../worker/collective/session.ts";
import { createCollectiveEndpoint } from "../../worker/collective/zeromq.ts";

const warmups = 2;

interface Measurement {
  readonly mb: number;
  readonly ms: number;
  /** CPU time over wall-clock time of rank 0, both threads. */
  readonly cores: number;
}

type ToRank = {
  readonly rank: number;
  readonly endpoints: string[];
  readonly mb: number[];
  readonly iterations: number;
};
type FromRank = { readonly address: string } | { readonly measurements: Measurement[] };

if (process.env["RINGTUNE_BENCH_RING"] !== undefined) await runRank();
else await main();

async function main(): Promise<void> {
  const { values } = parseArgs({
    args: spreadLists(process.argv.slice(2)),
    options: {
      world: { type: "string", multiple: true, default: ["2"] },
      mb: { type: "string", multiple: true, default: ["1", "10", "100"] },
      iters: { type: "string", default: "10" },
      "segment-kib": { type: "string", default: String(defaultRingOptions.segmentBytes / 1024) },
      window: { type: "string", default: String(defaultRingOptions.windowSegments) },
    },
  });
  const mb = values.mb.map(Number);
  const options = { segmentBytes: Number(values["segment-kib"]) * 1024, windowSegments: Number(values.window) };
  console.log(
    `segment ${options.segmentBytes / 1024} KiB, window ${options.windowSegments}, median of ${values.iters}`,
  );
  console.log("world      MB |  ringtune ms   algbw   busbw  cores/rank |  gloo ms   busbw |  ratio");
  for (const world of values.world.map(Number)) {
    const ours = await measureRing(world, mb, Number(values.iters), options);
    const gloo = await measureGloo(world, mb, Number(values.iters));
    for (const { mb: size, ms, cores } of ours) {
      const algbw = size / ms;
      const factor = (2 * (world - 1)) / world;
      const peer = gloo.get(size);
      const right =
        peer === undefined
          ? "      -       - |      -"
          : `${peer.toFixed(2).padStart(8)} ${((size / peer) * factor).toFixed(2).padStart(7)} | ${(peer / ms).toFixed(2).padStart(6)}`;
      console.log(
        `${String(world).padStart(5)} ${String(size).padStart(7)} | ${ms.toFixed(2).padStart(12)} ${algbw.toFixed(2).padStart(7)} ` +
          `${(algbw * factor).toFixed(2).padStart(7)} ${cores.toFixed(2).padStart(11)} | ${right}`,
      );
    }
  }
  console.log("algbw and busbw in GB/s; ratio is gloo's time over ours");
}

async function measureRing(
  world: number,
  mb: number[],
  iterations: number,
  options: RingOptions,
): Promise<Measurement[]> {
  const script = fileURLToPath(import.meta.url);
  const env = { ...process.env, RINGTUNE_BENCH_RING: JSON.stringify(options) };
  const children = Array.from({ length: world }, () => fork(script, [], { env }));
  try {
    const addresses = await Promise.all(children.map((child) => answer(child, "address")));
    const done = children.map((child) => answer(child, "measurements"));
    children.forEach((child, rank) => {
      const task: ToRank = { rank, endpoints: addresses, mb, iterations };
      child.send(task);
    });
    return (await Promise.all(done))[0]!;
  } finally {
    for (const child of children) child.kill();
  }
}

function answer<K extends "address" | "measurements">(
  child: ChildProcess,
  key: K,
): Promise<K extends "address" ? string : Measurement[]> {
  return new Promise((resolve, reject) => {
    child.once("exit", (code) => reject(new Error(`a rank ended with ${code} before its ${key}`)));
    child.once("message", (message) => resolve((message as Record<K, never>)[key]));
  });
}

async function runRank(): Promise<void> {
  const options = JSON.parse(process.env["RINGTUNE_BENCH_RING"]!) as RingOptions;
  const endpoint = await createCollectiveEndpoint({ host: "127.0.0.1", ...options });
  const task = new Promise<ToRank>((resolve) => process.once("message", (message) => resolve(message as ToRank)));
  const tell = (message: FromRank): void => void process.send!(message);
  tell({ address: endpoint.address });
  const { rank, endpoints, mb, iterations } = await task;
  const collective = await endpoint.form({ jobId: "bench", generation: 1, rank, endpoints });
  const { signal } = new AbortController();
  const token = new Float32Array(endpoints.length);
  const measurements: Measurement[] = [];
  let step = 0;
  for (const size of mb) {
    const buffer = new Float32Array((size * 1e6) / 4);
    const times: number[] = [];
    let cpuMs = 0;
    for (let i = 0; i < warmups + iterations; i++) {
      buffer.fill(1);
      await collective.allReduce(token, { step: step++, bucket: 0, signal });
      const cpu = process.cpuUsage();
      const start = performance.now();
      await collective.allReduce(buffer, { step: step++, bucket: 0, signal });
      const elapsed = performance.now() - start;
      const used = process.cpuUsage(cpu);
      if (buffer[0] !== endpoints.length || buffer.at(-1) !== endpoints.length) throw new Error("wrong sum");
      if (i < warmups) continue;
      times.push(elapsed);
      cpuMs += (used.user + used.system) / 1000;
    }
    const cores = cpuMs / times.reduce((sum, time) => sum + time, 0);
    times.sort((a, b) => a - b);
    measurements.push({ mb: size, ms: times[Math.floor(times.length / 2)]!, cores });
  }
  await collective.allReduce(token, { step: step++, bucket: 0, signal });
  tell({ measurements });
  await endpoint.close();
  process.disconnect();
}

/** Milliseconds by size; empty when the peer is not there. */
async function measureGloo(world: number, mb: number[], iterations: number): Promise<Map<number, number>> {
  const times = new Map<number, number>();
  const folder = process.env["RINGTUNE_PEERS"];
  if (folder === undefined || folder === "") return times;
  const script = join(folder, "allreduce_gloo.py");
  if (!existsSync(script)) throw new Error(`RINGTUNE_PEERS names ${folder}, which has no allreduce_gloo.py`);
  const python = promisify(execFile);
  const missing = await python("/usr/bin/python3", ["-c", "import torch"]).then(
    () => undefined,
    () => "gloo is left out: /usr/bin/python3 cannot import torch",
  );
  if (missing !== undefined) {
    console.log(missing);
    return times;
  }
  const list = mb.map(String);
  const { stdout } = await python("/usr/bin/python3", [
    script,
    ...["--world", String(world), "--iters", String(iterations), "--mb", ...list],
  ]);
  for (const line of stdout.trim().split("\n")) {
    const { mb: size, ms } = JSON.parse(line) as { mb: number; ms: number };
    times.set(size, ms);
  }
  return times;
}

/** `--mb 1 10` as parseArgs wants it: `--mb 1 --mb 10`. */
function spreadLists(args: string[]): string[] {
  let flag = "";
  return args.flatMap((arg) => {
    if (!arg.startsWith("--")) return [flag, arg];
    flag = arg;
    return [];
  });
}

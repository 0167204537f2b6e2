// One rank of the all-reduce benchmark, a process of its own: tells its address, is told who the others are, measures.

import { readFileSync, writeFileSync } from "node:fs";
import { assert } from "../../common/errors.ts";
import { createCollectiveEndpoint } from "../collective/zeromq.ts";
import { createMemory } from "../simd/assembler.ts";
import { compileSum, strideBytes } from "../simd/sum.ts";
import { warmups, type FromRank, type Measurement, type RankSettings, type RankTask } from "./all-reduce.ts";
import { median } from "../../common/median.ts";

const endpoint = await createCollectiveEndpoint(JSON.parse(process.argv[2]!) as RankSettings);
const given = new Promise<RankTask>((resolve) => process.once("message", (message) => resolve(message as RankTask)));
tell({ address: endpoint.address });
const { rank, ranks, endpoints, sizesBytes, iterations } = await given;
const largest = Math.max(...sizesBytes);
const buffer = endpoint.allocate(Math.ceil(largest / 4));
const collective = await endpoint.form({ jobId: "bench", generation: 1, rank, endpoints });
const passOverMemory = createPass(largest);
const { signal } = new AbortController();
let step = 0;
buffer.fill(1);
await collective.barrier({ step: step++, bucket: 0, signal });
passOverMemory(largest);
const before = beginPeak();

const measurements: Measurement[] = [];
for (const sizeBytes of sizesBytes) {
  const part = buffer.subarray(0, Math.floor(sizeBytes / 4));
  const times: number[] = [];
  const limits: number[] = [];
  let bytesBetweenHosts = 0;
  for (let i = 0; i < warmups + iterations; i++) {
    part.fill(1);
    await collective.barrier({ step: step++, bucket: 0, signal });
    const start = performance.now();
    ({ bytesBetweenHosts } = await collective.allReduce(part, { step: step++, bucket: 0, signal }));
    const took = performance.now() - start;
    assert(part[0] === ranks && part.at(-1) === ranks, `the sum of ${ranks} ones is ${part[0]} and ${part.at(-1)}`);
    await collective.barrier({ step: step++, bucket: 0, signal });
    const limitStart = performance.now();
    passOverMemory(sizeBytes);
    const limit = performance.now() - limitStart;
    if (i < warmups) continue;
    times.push(took / 1000);
    limits.push(limit / 1000);
  }
  const found = { sizeBytes, seconds: median(times), limitSeconds: median(limits) };
  measurements.push({ ...found, path: collective.path, bytesBetweenHosts, extraBytes: peakBytes() - before });
}
// Another rank may still be in its last call, so nobody leaves before the parent has heard of all and ends them.
tell({ measurements });

/** Reads and writes so many bytes in place. */
function createPass(bytes: number): (bytes: number) => void {
  const memory = createMemory(bytes + strideBytes);
  new Uint8Array(memory.buffer).fill(1);
  const pass = compileSum("float32", memory, 1, [0]);
  return (length) => pass([0], Math.ceil(length / strideBytes) * strideBytes);
}

/** Resident memory now, from which the peak is counted; 0 where the system does not tell. */
function beginPeak(): number {
  try {
    writeFileSync("/proc/self/clear_refs", "5");
  } catch {
    return peakBytes();
  }
  return peakBytes();
}

function peakBytes(): number {
  try {
    const status = readFileSync("/proc/self/status", "utf8");
    return Number(/^VmHWM:\s+(\d+) kB$/m.exec(status)?.[1] ?? 0) * 1024;
  } catch {
    return 0;
  }
}

function tell(message: FromRank): void {
  process.send!(message);
}

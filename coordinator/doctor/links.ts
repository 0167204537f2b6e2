// How fast two workers of this host exchange gradients: `ringtune bench allreduce`, a program of the worker's side, run briefly.
// Every pair of workers on one host has the same links, so one pair is measured. Other hosts have to be asked from there.

import { execFile } from "node:child_process";
import { promisify } from "node:util";
import { describeError, RingtuneError } from "../../common/errors.ts";
import { ringtuneProgram } from "../load/start-coordinator.ts";
import { fail, ok, warn, type Finding } from "./finding.ts";

const run = promisify(execFile);
const SIZE = "10MB";

export async function examineLinks(signal: AbortSignal): Promise<Finding[]> {
  const findings: Finding[] = [];
  for (const reach of ["memory", "tcp"] as const) {
    const what = reach === "memory" ? "shared memory" : "ZeroMQ over TCP";
    try {
      const args = [ringtuneProgram, "bench", "allreduce", "--sizes", SIZE, "--iterations", "5", "--reach", reach];
      const { stdout } = await run(process.execPath, args, { signal, timeout: 60_000 });
      const busbw = /MB\s+[\d.]+\s+[\d.]+\s+([\d.]+)/.exec(stdout)?.[1];
      if (busbw === undefined) throw new RingtuneError("internal", `no bandwidth in what it printed: ${stdout}`);
      const isShared = stdout.split("\n")[0]!.includes("shared memory");
      const sentence = `${what} between two workers of this host: ${busbw} GB/s bus bandwidth at ${SIZE}`;
      if (reach === "memory" && !isShared)
        findings.push(warn("links", `shared memory can't be used: ${stdout.split("\n")[0]}`));
      else findings.push(ok("links", sentence));
    } catch (error) {
      signal.throwIfAborted();
      findings.push(fail("links", `${what} does not work between two workers of this host: ${describeError(error)}`));
    }
  }
  return findings;
}

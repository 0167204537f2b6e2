// A run that is going on, from the doctor's side: how far the clocks of its workers are from the coordinator's, and how fast the
// links between each two of them are. The workers measure; the run stands still for as long as that takes.

import { setTimeout as delay } from "node:timers/promises";
import { median } from "../../common/median.ts";
import type { AdminClient, RunStatus } from "../../proto/admin.ts";
import { describeQuantity, significant } from "../cli/quantities.ts";
import { CLOCK_LIMIT_S } from "../core/measuring.ts";
import { contactRun } from "../rpc/admin.ts";
import { fail, ok, warn, type Finding } from "./finding.ts";

const LOOK_EVERY_MS = 100;
/** For a step to end and the links to be measured. */
const PATIENCE_MS = 600_000;
/** A link this many times slower than the median of its kind keeps the others waiting. */
const SLOWER = 2;

/** Throws `run_missing` when nobody coordinates the run, and the signal's reason. */
export async function examineCluster(run: string, signal: AbortSignal): Promise<Finding[]> {
  const ask = <T>(question: (admin: AdminClient) => Promise<T>): Promise<T> => contactRun(run).then(question);
  const before = await ask((admin) => admin.status());
  const findings = [ok("run", describeRun(before)), ...clockFindings(before)];
  try {
    await ask((admin) => admin.measureLinks());
  } catch (error) {
    return [...findings, warn("links", (error as Error).message)];
  }
  const deadline = performance.now() + PATIENCE_MS;
  for (;;) {
    await delay(LOOK_EVERY_MS, undefined, { signal });
    const status = await ask((admin) => admin.status());
    if (status.generation > before.generation && !status.measuresLinks) return [...findings, ...linkFindings(status)];
    if (performance.now() < deadline) continue;
    return [
      ...findings,
      fail("links", `no step was committed within ${PATIENCE_MS / 1000} s, so no link was measured`),
    ];
  }
}

function describeRun({ run, step, totalSteps, workers }: RunStatus): string {
  const hosts = new Set(workers.map(({ host }) => host));
  return `${run} has ${workers.length} workers on ${hosts.size} host${hosts.size === 1 ? "" : "s"}, step ${step} of ${totalSteps}`;
}

/** One for each worker: by how much its clock differs, and how sure that is. */
export function clockFindings({ workers }: Pick<RunStatus, "workers">): Finding[] {
  return workers.map(({ id, host, clock }) => {
    const who = `worker ${id} (host ${host})`;
    if (clock === null) return ok("clock", `${who} has not compared its clock yet`);
    const { offsetSeconds, roundTripSeconds } = clock;
    const where = offsetSeconds < 0 ? "behind" : "ahead of";
    const sentence = `${who} is ${milliseconds(Math.abs(offsetSeconds))} ${where} the coordinator, give or take ${milliseconds(roundTripSeconds / 2)}`;
    if (Math.abs(offsetSeconds) - roundTripSeconds / 2 <= CLOCK_LIMIT_S) return ok("clock", sentence);
    return warn("clock", `${sentence} (limit ${CLOCK_LIMIT_S} s); keep both in step with a time service`);
  });
}

/** One for each direction between each two workers. Links within hosts and between them are judged apart. */
export function linkFindings({ workers, links }: Pick<RunStatus, "workers" | "links">): Finding[] {
  if (links.length === 0) return [fail("links", "a worker was lost while they were measured; ask again")];
  const hostOf = new Map(workers.map(({ id, host }) => [id, host]));
  const isWithin = ({ from, to }: { from: string; to: string }): boolean => hostOf.get(from) === hostOf.get(to);
  const usual = (within: boolean): number =>
    median(links.filter((link) => isWithin(link) === within).map(({ bytesPerSecond }) => bytesPerSecond));
  const medians = { within: usual(true), between: usual(false) };
  return links.map((link) => {
    const { from, to, bytesPerSecond, latencySeconds } = link;
    const typical = isWithin(link) ? medians.within : medians.between;
    const where = isWithin(link) ? "on one host, over a socket" : `${hostOf.get(from)} to ${hostOf.get(to)}`;
    const sentence = `${from} to ${to} (${where}): ${describeQuantity(bytesPerSecond)}B/s, ${milliseconds(latencySeconds)}`;
    if (bytesPerSecond * SLOWER >= typical) return ok("links", sentence);
    return warn(
      "links",
      `${sentence}, where the median is ${describeQuantity(typical)}B/s: the ring is as fast as this`,
    );
  });
}

function milliseconds(seconds: number): string {
  return `${significant(1000 * seconds, 2)} ms`;
}

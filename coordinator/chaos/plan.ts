// Which faults a chaos run injects, whom they hit and when: a pure function of the seed, so that a run can be repeated. What
// a fault does to processes is in inject.ts. Times that depend on the machine are given as shares: of the workers that may be
// hit, of the silence after which a worker is given up.

import { listOf, nearest } from "../../common/config/nearest.ts";
import { RingtuneError } from "../../common/errors.ts";
import { createRandom } from "../../common/random.ts";

/** How often each kind comes, relative to the others that were asked for, and the ways in which it comes, all equally often. */
const table = {
  kill: { weight: 3, ways: ["SIGKILL"] },
  pause: { weight: 3, ways: ["past the limit", "past the limit", "briefly"] },
  partition: { weight: 3, ways: ["reset", "silent", "silent upwards", "silent downwards", "for good"] },
  slow: { weight: 1, ways: ["delayed messages", "stop and go"] },
  coordinator: { weight: 1, ways: ["SIGKILL"] },
  disk: { weight: 1, ways: ["no folder", "full"] },
} as const satisfies Record<string, { readonly weight: number; readonly ways: readonly string[] }>;

export type FaultKind = keyof typeof table;

export const faultKinds = Object.keys(table) as FaultKind[];

export type PlannedFault = {
  [K in FaultKind]: {
    /** From 1. */
    readonly number: number;
    readonly kind: K;
    readonly way: (typeof table)[K]["ways"][number];
    /** Committed steps since the fault before, and then so many milliseconds. */
    readonly afterSteps: number;
    readonly afterMs: number;
    /** In [0, 1): which of the workers that may be hit, in rank order. */
    readonly whom: number;
    /** In [0, 1): how long, within what the way allows. */
    readonly howLong: number;
  };
}[FaultKind];

/** More than a step of a small model takes, so that faults find every part of it. */
const MOST_MS = 120;
const MOST_STEPS = 3;

/** Fault `number` of the plan of `seed`. */
export function planFault(seed: number, kinds: readonly FaultKind[], number: number): PlannedFault {
  const random = createRandom(seed, `fault ${number}`);
  const lots = kinds.flatMap((kind) => Array.from({ length: table[kind].weight }, () => kind));
  const kind = lots[random.integer(lots.length)]!;
  const { ways } = table[kind];
  return {
    number,
    kind,
    way: ways[random.integer(ways.length)],
    afterSteps: 1 + random.integer(MOST_STEPS),
    afterMs: random.integer(MOST_MS),
    whom: random.next(),
    howLong: random.next(),
  } as PlannedFault;
}

/** "fault 12: 2 steps and 41 ms later, pause past the limit, worker at 0.62 of those there" */
export function describePlanned({ number, kind, way, afterSteps, afterMs, whom, howLong }: PlannedFault): string {
  const steps = `${afterSteps} step${afterSteps === 1 ? "" : "s"}`;
  const target = kind === "coordinator" || kind === "disk" ? "" : `, worker at ${whom.toFixed(2)} of those there`;
  return `fault ${number}: ${steps} and ${afterMs} ms later, ${kind} (${way})${target}, length ${howLong.toFixed(2)}`;
}

/** "kill,pause": throws `usage` for names that are no faults. */
export function parseFaults(text: string): FaultKind[] {
  const names = text.split(",").map((name) => name.trim());
  for (const name of names) {
    if (name in table) continue;
    const meant = nearest(name, faultKinds);
    const hint = meant === undefined ? "" : `; did you mean ${meant}?`;
    throw new RingtuneError(
      "usage",
      `${JSON.stringify(name)} is no fault: there are ${listOf(faultKinds, "and")}${hint}`,
    );
  }
  return [...new Set(names as FaultKind[])];
}

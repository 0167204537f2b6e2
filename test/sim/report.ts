// What a simulation has come to, as tables: how many schedules, events and distinct states, how often each fault took
// effect and how often each invariant was looked at.

import { markdownTable } from "../../common/markdown-table.ts";
import type { Result } from "./cluster/schedule.ts";
import { faultNames } from "./cluster/faults.ts";
import { invariantNames } from "./cluster/invariants.ts";

export interface Tally {
  schedules: number;
  events: number;
  simulatedMs: number;
  generations: number;
  readonly states: Set<string>;
  readonly fired: Record<string, number>;
  readonly checked: Record<string, number>;
}

export function createTally(): Tally {
  return { schedules: 0, events: 0, simulatedMs: 0, generations: 0, states: new Set(), fired: {}, checked: {} };
}

export function count(tally: Tally, result: Result): void {
  tally.schedules += 1;
  tally.events += result.events;
  tally.simulatedMs += result.simulatedMs;
  tally.generations += result.generations;
  for (const state of result.states) tally.states.add(state);
  for (const [name, times] of Object.entries(result.fired)) tally.fired[name] = (tally.fired[name] ?? 0) + times;
  for (const [name, times] of Object.entries(result.checked)) tally.checked[name] = (tally.checked[name] ?? 0) + times;
}

export function describe(tallies: ReadonlyMap<string, Tally>, seconds: number): string {
  const all = createTally();
  for (const tally of tallies.values()) {
    for (const key of ["schedules", "events", "simulatedMs", "generations"] as const) all[key] += tally[key];
    for (const state of tally.states) all.states.add(state);
    for (const [name, times] of Object.entries(tally.fired)) all.fired[name] = (all.fired[name] ?? 0) + times;
    for (const [name, times] of Object.entries(tally.checked)) all.checked[name] = (all.checked[name] ?? 0) + times;
  }
  const row = (name: string, tally: Tally): string[] => [
    ...[name, String(tally.schedules), String(tally.events), String(tally.generations), String(tally.states.size)],
    String(Math.round(tally.simulatedMs / 3_600_000)),
  ];
  const campaigns = [...tallies].map(([name, tally]) => row(name, tally));
  return [
    markdownTable([
      ["simulation", "schedules", "events", "generations", "distinct states", "simulated hours"],
      ...campaigns,
      row(`all, in ${Math.round(seconds)} s`, all),
    ]),
    markdownTable([["fault", "fired"], ...faultNames.map((name) => [name, String(all.fired[name] ?? 0)])]),
    markdownTable([["invariant", "checked"], ...invariantNames.map((name) => [name, String(all.checked[name] ?? 0)])]),
  ].join("\n\n");
}

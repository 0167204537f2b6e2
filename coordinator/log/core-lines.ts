// What of the core's decisions goes into the log, and where in the run it stands.

import type { Place } from "../../common/log-line.ts";
import type { Outcome, State } from "../core/state.ts";
import type { HandedOver } from "../rpc/driver.ts";

/** Every step is committed; metrics.jsonl has the records of all. */
export function isStepAsUsual(reason: string): boolean {
  return /^(step \d+ is committed: [^;]*)?$/.test(reason);
}

export function placeIn({ generation, committed, members }: State): Place {
  return {
    generation,
    step: committed,
    rankOf(worker) {
      const rank = generation === 0 ? -1 : members.findIndex(({ id }) => id === worker);
      return rank < 0 ? undefined : rank;
    },
  };
}

export function describeOutcome(outcome: Outcome | HandedOver): string {
  if (outcome.kind === "completed") return `the run is complete after step ${outcome.step}`;
  if (outcome.kind === "stopped") return `the run stopped after step ${outcome.step}: ${outcome.reason}`;
  if (outcome.kind === "handed-over") return `the run was handed over after step ${outcome.step}: ${outcome.reason}`;
  return `the run ended after step ${outcome.step}: ${outcome.reason}`;
}

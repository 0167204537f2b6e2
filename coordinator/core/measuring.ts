// What workers measure when they are asked: how far their clocks are from the coordinator's, as they join, and how fast the links
// between each two of them are. Links are measured while a generation is formed, before its first plan: nothing else is on its
// way then, and a worker that is lost meanwhile is lost as in any other generation.

import type { FromWorker } from "../../proto/messages.ts";
import type { Draft } from "./draft.ts";
import { refuse } from "./leaving.ts";
import type { Member } from "./state.ts";

type Clock = Extract<FromWorker, { kind: "clock" }>["value"];
type Link = Extract<FromWorker, { kind: "formed" }>["value"]["links"][number];

/** Between clocks; more confuses who reads logs and graphs of several hosts, and makes tokens expire early or late. */
export const CLOCK_LIMIT_S = 1;

/** Every pair is measured by itself, both ways: more would keep the run waiting. */
const MOST_WORKERS = 32;

export function compareClock(draft: Draft, member: Member, { offsetSeconds, roundTripSeconds }: Clock): void {
  member.clock = { offsetSeconds, roundTripSeconds };
  const sureSeconds = Math.abs(offsetSeconds) - roundTripSeconds / 2;
  if (sureSeconds <= CLOCK_LIMIT_S) return;
  const where = offsetSeconds > 0 ? "ahead of" : "behind";
  draft.because(
    `the clock of ${draft.nameOf(member)} is ${Math.abs(offsetSeconds).toFixed(3)} s ${where} the coordinator's, give or take ${(roundTripSeconds / 2).toFixed(3)} s (limit ${CLOCK_LIMIT_S} s); tokens, certificates and logs go by the time of day, so keep both in step with a time service`,
  );
}

/** The links are to be measured, in a generation of their own after the next commit. */
export function askForLinks(draft: Draft): void {
  const { state } = draft;
  const { members, phase } = state;
  if (phase !== "running" && phase !== "forming") return refuse(draft, `the run is ${phase}; ask again when it trains`);
  if (members.length === 1) return refuse(draft, "one worker alone has no link to another");
  if (members.length > MOST_WORKERS) {
    return refuse(draft, `the links between ${members.length} workers take too long to measure, limit ${MOST_WORKERS}`);
  }
  state.measure = true;
  draft.because(
    `the links between ${members.length} workers are measured when step ${state.committed + 1} is committed`,
  );
}

/** What a worker has measured, as the sender. */
export function noteLinks(draft: Draft, member: Member, links: readonly Link[]): void {
  const { state } = draft;
  for (const { rank, bytesPerSecond, latencySeconds } of links) {
    const to = state.members[rank]?.id;
    if (to !== undefined) state.links.push({ from: member.id, to, bytesPerSecond, latencySeconds });
  }
}

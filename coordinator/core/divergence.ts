// Workers whose weights are not those of the others: found by digest, named, and given the weights of a worker that has
// the right ones, over the ring of a new generation. Right is what most have; in a tie, what the lowest rank has. And those
// whose reduced gradients differ: nothing is committed then, and the step is computed again.

import type { Draft } from "./draft.ts";
import { form, lost } from "./membership.ts";
import { abandonSavesOf } from "./saving.ts";
import type { Member } from "./state.ts";
import { mostCommon } from "./votes.ts";

/** So often a worker's weights are replaced before it is sent away: its memory or its answers can't be trusted. */
const MAX_HEALED = 2;

/**
 * Marks the members whose digest differs, in sentences that name them. `digests` by worker; who is missing is not judged.
 * Only `witnesses` have a say: who was just given weights has those of another, right or wrong.
 */
export function findDiverged(
  draft: Draft,
  digests: Readonly<Record<string, string>>,
  step: number,
  witnesses: readonly Member[] = draft.state.members,
): void {
  const judged = draft.state.members.filter(({ id }) => id in digests);
  const heard = judged.filter((member) => witnesses.includes(member));
  if (heard.length === 0) return;
  const { right, count: most } = mostCommon(heard.map(({ id }) => digests[id]!));
  for (const member of judged.filter(({ id }) => digests[id] !== right)) {
    member.holds = false;
    member.healed += 1;
    const others = `${most} of ${heard.length} workers have ${right}`;
    draft.because(
      `the weights of ${draft.nameOf(member)} differ after step ${step}: digest ${digests[member.id]}, ${others}`,
    );
    abandonSavesOf(draft, member.id);
  }
}

/** A new generation, in which those that were found get the weights of another. */
export function heal(draft: Draft): void {
  const hopeless = draft.state.members.filter(({ holds, healed }) => !holds && healed > MAX_HEALED);
  if (hopeless.length === 0) return form(draft, "they get those of another worker");
  sendAway(draft, hopeless, `what it holds differed ${MAX_HEALED + 1} times`);
}

/** These ranks have reduced another gradient than most. Nobody has applied it, so nobody's weights are wrong. */
export function redo(draft: Draft, ranks: readonly number[], reason: string): void {
  const odd = ranks.flatMap((rank) => draft.state.members[rank] ?? []);
  for (const member of odd) member.healed += 1;
  draft.because(reason);
  const hopeless = odd.filter(({ healed }) => healed > MAX_HEALED);
  if (hopeless.length === 0) return form(draft, "it is computed again");
  sendAway(draft, hopeless, `what it holds differed ${MAX_HEALED + 1} times`);
}

function sendAway(draft: Draft, members: readonly Member[], reason: string): void {
  for (const { id } of members) draft.effects.push({ kind: "dismiss", to: id, code: "internal", reason });
  lost(
    draft,
    members.map(({ id }) => id),
    reason,
  );
}

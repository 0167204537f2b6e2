// Workers whose weights are not those of the others: found by digest, named, and given the weights of a worker that has
// the right ones, over the ring of a new generation. Right is what most have; in a tie, what the lowest rank has.

import type { Draft } from "./draft.ts";
import { form, lost } from "./membership.ts";

/** So often a worker's weights are replaced before it is sent away: its memory or its answers can't be trusted. */
const MAX_HEALED = 2;

/** Marks the members whose digest differs, in sentences that name them. `digests` by worker; who is missing is not judged. */
export function findDiverged(draft: Draft, digests: Readonly<Record<string, string>>, step: number): void {
  const judged = draft.state.members.filter(({ id }) => id in digests);
  const groups = new Map<string, number>();
  for (const { id } of judged) groups.set(digests[id]!, (groups.get(digests[id]!) ?? 0) + 1);
  if (groups.size < 2) return;
  // Groups are in the order of their lowest rank, and the first of the largest wins.
  const most = Math.max(...groups.values());
  const [right] = [...groups].find(([, count]) => count === most)!;
  for (const member of judged.filter(({ id }) => digests[id] !== right)) {
    member.holds = false;
    member.healed += 1;
    if (draft.state.unpublished !== null && draft.state.writer?.id === member.id) {
      draft.state.saved = draft.state.writer.savedBefore;
      draft.state.unpublished = null;
    }
    const others = `${most} of ${judged.length} workers have ${right}`;
    draft.because(
      `the weights of ${draft.nameOf(member)} differ after step ${step}: digest ${digests[member.id]}, ${others}`,
    );
  }
}

/** A new generation, in which those that were found get the weights of another. */
export function heal(draft: Draft): void {
  const hopeless = draft.state.members.filter(({ holds, healed }) => !holds && healed > MAX_HEALED);
  if (hopeless.length === 0) return form(draft, "they get those of another worker");
  const reason = `its weights differed ${MAX_HEALED + 1} times`;
  for (const { id } of hopeless) draft.effects.push({ kind: "dismiss", to: id, code: "internal", reason });
  lost(
    draft,
    hopeless.map(({ id }) => id),
    reason,
  );
}

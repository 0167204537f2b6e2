// How the ranks of a host come to share memory: each tells where its own is, maps that of its group, and tells whether it
// could. A group of which one can't is not used: its ranks are then alone, and all know the same reason. The telling is an
// all-gather over the ring of all ranks.

import { describeError } from "../../../common/errors.ts";
import { exchangeRecords } from "../records.ts";
import { findRank, type Topology } from "../topology.ts";
import type { SharedFile, SharedMemory, SharedWorld } from "./shared-memory.ts";

type Told = { readonly file: SharedFile } | { readonly problem: string } | { readonly mapped: true };

export interface Agreed {
  /** The groups that do share memory. */
  readonly topology: Topology;
  /** The memory of this rank's group, if there is more than one in it. */
  readonly world?: SharedWorld;
  /** Of the first group that could not be used. */
  readonly problem?: string;
}

/** The same answer on all ranks, but for the world. Rejects only if `gather` does. */
export async function agreeOnMemory(
  memory: SharedMemory | undefined,
  topology: Topology,
  rank: number,
  gather: (records: Uint8Array<ArrayBuffer>) => Promise<void>,
): Promise<Agreed> {
  const worldSize = topology.flat().length;
  const { group, local } = findRank(topology, rank);
  const ranks = topology[group]!;
  const isShared = ranks.length > 1;
  const exchange = async (told: Told): Promise<Told[]> => {
    const all = await exchangeRecords({ rank, worldSize }, told, gather);
    return all.map((each) => each ?? { problem: "what it told is not readable" });
  };
  const files = await exchange(attempt(() => (isShared ? { file: memory!.open() } : { mapped: true })));
  let world: SharedWorld | undefined;
  const answers = await exchange(
    attempt(() => {
      if (isShared) world = memory!.join(ranks.map((each) => fileOf(files[each]!)), local, ranks); // prettier-ignore
      return { mapped: true };
    }),
  );
  const problemOf = (members: readonly number[]): string | undefined =>
    problemIn(files, members) ?? problemIn(answers, members);
  const problem = problemOf(topology.flat());
  if (problem === undefined) return { topology, ...(world && { world }) };
  const used = topology.flatMap((members) =>
    problemOf(members) === undefined ? [members] : members.map((each) => [each]),
  );
  return { topology: used, problem, ...(world && problemOf(ranks) === undefined && { world }) };
}

function attempt(act: () => Told): Told {
  try {
    return act();
  } catch (error) {
    return { problem: describeError(error).slice(0, 200) };
  }
}

function fileOf(told: Told): SharedFile {
  if ("file" in told) return told.file;
  throw new Error("a rank has none");
}

function problemIn(told: readonly Told[], members: readonly number[]): string | undefined {
  const rank = members.find((each) => "problem" in told[each]!);
  return rank === undefined ? undefined : `rank ${rank}: ${(told[rank] as { problem: string }).problem}`;
}

// Which workers have their state in common in a new generation, and where it comes from: the same answer on all ranks, from what
// all told and from who shares memory with whom. Moves nothing.
//
//     all of a host have one region, nobody else had it, nothing is unfinished    they keep it
//     some of a host hold the state                                               they fill a new region, a part each
//     nobody of a host does                                                       one fills it: from the seed, a file or a peer
//
// A region that somebody had who is no longer there is given up even though all are dead as a rule: one that was only stopped may
// wake up and go on writing to it.

/** What a rank tells the others. */
export interface Told {
  /** It has the weights and the state of the step that the generation begins with. */
  readonly holds: boolean;
  /** Which region it has; "" in memory of its own. */
  readonly region: string;
  /** How many have that region. */
  readonly members: number;
  /** It knows how to finish an update that others have not. */
  readonly isPending: boolean;
}

/** Ranks that have one region, in ascending order. */
export interface Group {
  readonly ranks: readonly number[];
  /** Who fills it, in ascending order; the first one makes it. */
  readonly fillers: readonly number[];
  /** The fillers hold what they fill it with. */
  readonly isHeld: boolean;
  /** It stays as it is. */
  readonly isKept: boolean;
}

/** Of every group of ranks that share memory; undefined for a rank that told nothing readable. */
export function planRegions(topology: readonly (readonly number[])[], told: readonly (Told | undefined)[]): Group[] {
  return topology.map((ranks) => {
    const holders = ranks.filter((rank) => told[rank]?.holds === true);
    const first = told[ranks[0]!];
    const isKept = ranks.every((rank) => {
      const each = told[rank];
      if (each === undefined || !each.holds || each.isPending) return false;
      return each.region === first?.region && each.members === ranks.length;
    });
    const isHeld = holders.length > 0;
    return { ranks, fillers: isHeld ? holders : ranks.slice(0, 1), isHeld, isKept };
  });
}

/** The group of a rank, and its place there. */
export function findGroup(groups: readonly Group[], rank: number): { readonly group: Group; readonly place: number } {
  const group = groups.find(({ ranks }) => ranks.includes(rank))!;
  return { group, place: group.ranks.indexOf(rank) };
}

/** The groups without those of which a rank has a problem: their ranks are alone. And the first problem, for people. */
export function withoutTroubled(
  groups: readonly Group[],
  told: readonly (Told | undefined)[],
  problems: readonly (string | undefined)[],
): { readonly groups: Group[]; readonly problem?: string } {
  const isTroubled = ({ ranks }: Group): boolean =>
    ranks.length > 1 && ranks.some((rank) => problems[rank] !== undefined);
  const split = groups.flatMap((group) =>
    isTroubled(group)
      ? planRegions(
          group.ranks.map((rank) => [rank]),
          told,
        )
      : [group],
  );
  const rank = groups.filter(isTroubled).flatMap(({ ranks }) => ranks).find((each) => problems[each] !== undefined); // prettier-ignore
  return { groups: split, ...(rank !== undefined && { problem: `rank ${rank}: ${problems[rank]}` }) };
}

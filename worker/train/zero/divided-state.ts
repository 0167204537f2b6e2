// Weights and optimizer state once per host (ZeRO, stage 1; Rajbhandari et al., 2020): every worker of the host sees all of both in
// one region, updates its share of them, and has the shares of the others as soon as they are done. Nothing travels, and
// whoever dies takes nothing along: the others have the region, and the summed gradient of the step.
//
//     commit s --> own share, block by block (journal.ts) --> wait until all shares are done --> step s+1
//
// A region is written to in one generation only, by the workers that were in it when it was made, and only between a commit
// and the moment when all of them have applied it. What a death leaves unfinished is finished in the copy that the next generation
// makes: every worker that holds the state copies a part, and computes what is missing in it from its own gradient. The old region is
// only read, so that may be tried again, whoever dies meanwhile. See docs/zero.md.

import { assert, describeError, RingtuneError } from "../../../common/errors.ts";
import { chunkOf } from "../../collective/chunks.ts";
import type { Collective } from "../../collective/collective.ts";
import { exchangeRecords } from "../../collective/records.ts";
import type { SharedFile } from "../../collective/shared-memory/shared-memory.ts";
import type { Optimizer, Range, StepOptions, UpdateAt } from "../optimizer.ts";
import type { HostMemory, HostRegion } from "./host-memory.ts";
import { readShare, updateShare, type Share } from "./journal.ts";
import { findGroup, planRegions, withoutTroubled, type Group, type Told } from "./plan-regions.ts";

export interface DividedState {
  /** The gradient is about to be overwritten: keeps of it what an update that others have not finished needs. */
  keep(gradients: Float32Array): void;
  /** All ranks call it when they have formed a generation. Rejects with nothing lost. */
  enter(generation: Entering): Promise<Entered>;
  /** Updates the share of this worker. */
  update(gradients: Float32Array, options: StepOptions): void;
  /** Resolves with true when all shares are updated; with false when the generation ends before, which loses nothing. */
  finished(signal: AbortSignal): Promise<boolean>;
  close(): void;
}

export interface Entering {
  readonly collective: Pick<Collective, "rank" | "worldSize" | "topology" | "allGather">;
  readonly step: number;
  /** This rank has the weights and the state of that step. */
  readonly holds: boolean;
  readonly signal: AbortSignal;
}

export interface Entered {
  /** What is under the arrays is zeros, to be filled: by this rank, or by another of its host. */
  readonly isEmpty: boolean;
  readonly isFiller: boolean;
  /** Ranks that fill, each for those of its host. */
  readonly fillers: readonly number[];
  /** How the state is divided, for people. */
  readonly description: string;
  /** Resolves when what was empty is filled: the filler says so by calling it. */
  filled(): Promise<void>;
}

interface Pending {
  readonly at: UpdateAt;
  /** Of the shares that were not done when the gradient had to go, by place. */
  gradients?: ReadonlyMap<number, Float32Array>;
}

/** Others have as much to do as this worker had, and a little more. */
const graceOf = (workedMs: number): number => 20 + 2 * workedMs;

/** `memory` has allocated the weights and then the buffers of the optimizer's state. */
export function createDividedState(memory: HostMemory, optimizer: Pick<Optimizer, "begin" | "update">): DividedState {
  const { arrays } = memory;
  const { length } = arrays[0]!;
  /** Undefined: what is under the arrays is this worker's alone. */
  let region: HostRegion | undefined;
  let place = 0;
  /** Updates since the region was made. */
  let round = 0;
  let pending: Pending | undefined;
  let workedMs = 0;

  const rangeOf = (members: number, of: number): Range => chunkOf(of, members, length);
  const shareOf = ({ members, places }: HostRegion, of: number): Share => ({ ...places[of]!, arrays, range: rangeOf(members, of) }); // prettier-ignore
  const compute = (
    given: readonly Float32Array[],
    gradients: Float32Array,
    at: UpdateAt,
    range: Range,
    origin = 0,
  ): void => optimizer.update([given[0]!, gradients, ...given.slice(1)], at, range, origin);
  const isDone = (of: number): boolean => Atomics.load(region!.places[of]!.done, 0) >= round;

  /** Writes a part of the state, as it is when the update under way is finished, into another region. */
  function copyInto(target: HostRegion, part: Range): void {
    const copy = (from: readonly Float32Array[], { begin, end }: Range, origin = 0): void => {
      const [first, last] = [Math.max(begin, part.begin), Math.min(end, part.end)];
      if (first < last)
        from.forEach((array, i) => target.fill(i, first, array.subarray(first - origin, last - origin)));
    };
    if (region === undefined || pending === undefined) return copy(arrays, part);
    const { at, gradients } = pending;
    assert(gradients !== undefined, "the gradient of an unfinished update is kept before a generation is formed");
    for (let of = 0; of < region.members; of++) {
      const share = shareOf(region, of);
      const { range } = share;
      const gradient = gradients.get(of);
      // Without a gradient it was done when that was kept.
      if (gradient === undefined || isDone(of)) copy(arrays, range);
      else if (range.begin < part.end && part.begin < range.end) {
        const update = (block: readonly Float32Array[], { begin, end }: Range): void =>
          compute(block, gradient.subarray(begin - range.begin, end - range.begin), at, { begin, end }, begin);
        readShare(share, round, update, (block, each) => copy(block, each, each.begin));
      }
    }
  }

  function take(next: HostRegion | undefined): void {
    if (next === undefined) memory.detach();
    else next.attach();
    region?.release();
    region = next;
    round = 0;
    pending = undefined;
  }

  /** A new region for this rank alone, of what it holds. */
  function goAlone({ isKept, isHeld }: Group): void {
    if (isKept) return;
    if (!isHeld) return take(undefined);
    let own: HostRegion | undefined;
    try {
      own = memory.create(1);
      copyInto(own, { begin: 0, end: length });
    } catch (cause) {
      own?.release();
      // Nobody else's affair: whoever has no room for it has to go.
      throw new RingtuneError("internal", `this worker would have its state alone, but ${describeError(cause)}`, {
        cause,
      });
    }
    take(own);
  }

  /** Copies this rank's part, and waits for those of the others. */
  async function fill(next: HostRegion, { ranks, fillers }: Group, rank: number, signal: AbortSignal): Promise<void> {
    const part = fillers.indexOf(rank);
    if (part >= 0) {
      copyInto(next, rangeOf(fillers.length, part));
      memory.arrive(next.places[place]!.filled, 1);
    }
    const words = fillers.map((filler) => next.places[ranks.indexOf(filler)]!.filled);
    if (!(await memory.await(words, 1, { signal }))) throw signal.reason;
  }

  async function enter({ collective, step, holds, signal }: Entering): Promise<Entered> {
    const { rank } = collective;
    const exchange = <T>(told: T): Promise<(T | undefined)[]> =>
      exchangeRecords(collective, told, (records) =>
        collective.allGather(new Float32Array(records.buffer), { step, bucket: 0, signal }),
      );
    const own: Told = { holds, region: region?.file.nonce ?? "", members: region?.members ?? 1, isPending: pending !== undefined }; // prettier-ignore
    const topology = await collective.topology(signal);
    const told = await exchange(own);
    let groups = planRegions(topology, told);
    let problem: string | undefined;
    let next: HostRegion | undefined;
    const isNew = ({ ranks, isKept }: Group): boolean => ranks.length > 1 && !isKept;
    try {
      if (groups.some(isNew)) {
        const { group } = findGroup(groups, rank);
        const makes = isNew(group) && rank === group.fillers[0];
        const opens = isNew(group) && !makes;
        const made = await exchange(attempt(() => (makes ? { file: (next = memory.create(group.ranks.length)).file } : {}))); // prettier-ignore
        const opened = await exchange(
          attempt(() => {
            if (opens) next = memory.open(fileOf(made[group.fillers[0]!]), group.ranks.length, group.fillers[0]!);
            return {};
          }),
        );
        const problems = told.map((_, each) => problemOf(made[each]) ?? problemOf(opened[each]));
        ({ groups, problem } = { problem: undefined, ...withoutTroubled(groups, told, problems) });
      }
      const { group, place: placed } = findGroup(groups, rank);
      if (!isNew(group)) {
        next?.release();
        next = undefined;
      }
      place = placed;
      if (group.ranks.length === 1) goAlone(group);
      else if (next !== undefined) {
        if (group.isHeld) await fill(next, group, rank, signal);
        take(next);
        next = undefined;
      }
      const isEmpty = !group.isHeld;
      return {
        isEmpty,
        isFiller: isEmpty && rank === group.fillers[0],
        fillers: groups.flatMap(({ isHeld, fillers }) => (isHeld ? [] : fillers)),
        description: describe(groups, problem),
        async filled() {
          if (!isEmpty || region === undefined) return;
          if (rank === group.fillers[0]) memory.arrive(region.places[place]!.filled, 1);
          const word = region.places[group.ranks.indexOf(group.fillers[0]!)]!.filled;
          if (!(await memory.await([word], 1, { signal }))) throw signal.reason;
        },
      };
    } catch (error) {
      next?.release();
      throw error;
    }
  }

  return {
    enter,
    keep(gradients) {
      if (region === undefined || pending === undefined || pending.gradients !== undefined) return;
      const { members } = region;
      const unfinished = Array.from({ length: members }, (_, of) => of).filter((of) => !isDone(of));
      pending.gradients = new Map(
        unfinished.map((of) => {
          const { begin, end } = rangeOf(members, of);
          return [of, gradients.slice(begin, end)];
        }),
      );
    },
    update(gradients, options) {
      const at = optimizer.begin(options);
      if (region === undefined || region.members === 1)
        return compute(arrays, gradients, at, { begin: 0, end: length });
      const start = performance.now();
      round += 1;
      pending = { at };
      updateShare(shareOf(region, place), round, (block) => compute(arrays, gradients, at, block));
      memory.arrive(region.places[place]!.done, round);
      workedMs = performance.now() - start;
    },
    async finished(signal) {
      if (region === undefined || pending === undefined) return true;
      const words = region.places.map(({ done }) => done);
      if (!(await memory.await(words, round, { signal, graceMs: graceOf(workedMs) }))) return false;
      pending = undefined;
      return true;
    },
    close() {
      region?.release();
      region = undefined;
    },
  };
}

type Made = { readonly file?: SharedFile } | { readonly problem: string };

function attempt(act: () => Made): Made {
  try {
    return act();
  } catch (error) {
    return { problem: describeError(error).slice(0, 200) };
  }
}

function fileOf(made: Made | undefined): SharedFile {
  if (made !== undefined && "file" in made && made.file !== undefined) return made.file;
  throw new RingtuneError("collective_failed", "there is no region to map");
}

function problemOf(made: Made | undefined): string | undefined {
  if (made === undefined) return "what it told is not readable";
  return "problem" in made ? made.problem : undefined;
}

/** "weights and optimizer state once for 2 + 1 workers" */
function describe(groups: readonly Group[], problem: string | undefined): string {
  const sizes = groups.map(({ ranks }) => ranks.length);
  const why = problem === undefined ? "" : `: ${problem}`;
  if (sizes.every((size) => size === 1)) return `whole in each of ${sizes.length} workers, which share no memory${why}`;
  return `once for each host, of ${sizes.join(" + ")} workers${why}`;
}

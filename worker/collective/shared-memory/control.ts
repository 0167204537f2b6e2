// Where the ranks of a host meet: a page of shared memory for each, written by its rank and read by all. It holds how far the
// rank is (its phase), what call it is in, and whether it sleeps. Moves no data.
//
// A rank that waits looks a few times, then sleeps on a word of its page for a time bounded by the caller, then asks to be
// woken by a message. A rank that comes to a new phase stores it and then looks who sleeps; one that goes to sleep says so and
// then looks at the phases again. All of it is sequentially consistent, so one of the two always sees the other.

import { pageBytes, type Libc } from "./libc.ts";

export const controlBytes = pageBytes;

/** Numbers of a call that must be equal on all ranks. */
export const announcedNumbers = 9;

// Places in a page, in 32-bit words; each on a cache line of its own.
const PHASE = 0;
const BELL = 16;
const SLEEPS = 32;
const ANNOUNCED = 48; // as 64-bit floats
const [awake, onBell, forSignal] = [0, 1, 2];

const looksBeforeSleep = 200;

export interface Control {
  /** This rank has come to `phase`. Returns the ranks that have asked for a message. */
  enter(phase: number): number[];
  /** The first rank that is not yet at `phase`. */
  missing(phase: number): number | undefined;
  /** Whether all ranks came to `phase` within the time; if not, this rank has asked for a message. */
  await(phase: number, timeoutMs: number): boolean;
  announce(numbers: readonly number[]): void;
  announced(rank: number): number[];
}

/** `pages` holds the pages of all ranks, one after another. */
export function createControl(pages: Uint8Array, rank: number, worldSize: number, libc: Libc): Control {
  const ranks = Array.from({ length: worldSize }, (_, index) => index);
  const others = ranks.filter((index) => index !== rank);
  const words = ranks.map((index) => new Int32Array(pages.buffer, pages.byteOffset + index * controlBytes, 64));
  const numbers = ranks.map((index) => {
    const start = pages.byteOffset + index * controlBytes + ANNOUNCED * 4;
    return new Float64Array(pages.buffer, start, announcedNumbers);
  });
  const bells = words.map((page) => page.subarray(BELL, BELL + 1));
  const own = words[rank]!;
  const missing = (phase: number): number | undefined =>
    others.find((index) => Atomics.load(words[index]!, PHASE) < phase);

  const sleepUntil = (phase: number, deadline: number): void => {
    for (let now = performance.now(); now < deadline && missing(phase) !== undefined; now = performance.now()) {
      const bell = Atomics.load(own, BELL);
      Atomics.store(own, SLEEPS, onBell);
      if (missing(phase) !== undefined) libc.sleep(bells[rank]!, bell, deadline - now);
    }
  };

  return {
    missing,
    enter(phase) {
      Atomics.store(own, PHASE, phase);
      const asked: number[] = [];
      for (const index of others) {
        const sleeps = Atomics.load(words[index]!, SLEEPS);
        if (sleeps === forSignal) asked.push(index);
        if (sleeps !== onBell) continue;
        Atomics.add(words[index]!, BELL, 1);
        libc.wake(bells[index]!);
      }
      return asked;
    },
    await(phase, timeoutMs) {
      Atomics.store(own, SLEEPS, awake);
      for (let looks = 0; looks < looksBeforeSleep; looks++) if (missing(phase) === undefined) return true;
      if (timeoutMs > 0) sleepUntil(phase, performance.now() + timeoutMs);
      Atomics.store(own, SLEEPS, forSignal);
      if (missing(phase) !== undefined) return false;
      Atomics.store(own, SLEEPS, awake);
      return true;
    },
    announce: (values) => numbers[rank]!.set(values),
    announced: (index) => [...numbers[index]!],
  };
}

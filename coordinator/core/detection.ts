// Whether a silent worker is gone. A stream that closes is noticed at once, elsewhere; this is for those that stop without
// a word: a stopped process, a cut cable. The limit comes from the intervals that were measured, as in phi-accrual
// detectors (Hayashibara et al., 2004), in its simplest form: so many standard deviations above the mean.
//
//     silence   0 .............. suspect ...................... dead
//                 max(2 m, m + 4 sd)         max(5 m, m + 10 sd)         m, sd: of the intervals so far
//
// A worker speaks from a thread of its own (worker/control/thread.ts), so computing does not delay its heartbeats.

/** Signs of life of one worker. */
export interface Pulse {
  /** When it was last heard. */
  lastMs: number;
  /** When its last regular heartbeat came. */
  beatMs: number;
  /** Of the intervals between regular heartbeats, the last twenty or so weighing most. */
  meanMs: number;
  varianceMs: number;
}

/** How much of the estimate is the newest interval. */
const SHARE = 0.1;

/** Before anything is measured an interval is what was agreed, give or take as much: patient at first. */
export function createPulse(nowMs: number, intervalMs: number): Pulse {
  return { lastMs: nowMs, beatMs: nowMs, meanMs: intervalMs, varianceMs: intervalMs ** 2 };
}

/**
 * A regular heartbeat came, `agreedMs` after the one before if nothing was in its way. Those that a cut connection held back
 * come all at once: that says nothing of how soon the next is due, so no interval counts as shorter than was agreed.
 */
export function beat(pulse: Pulse, nowMs: number, agreedMs: number): void {
  const deviation = Math.max(agreedMs, nowMs - pulse.beatMs) - pulse.meanMs;
  pulse.meanMs += SHARE * deviation;
  pulse.varianceMs = (1 - SHARE) * (pulse.varianceMs + SHARE * deviation ** 2);
  pulse.beatMs = pulse.lastMs = nowMs;
}

/** Silence in milliseconds after which a worker is suspected, and after which it is given up. */
export function limitsOf({ meanMs, varianceMs }: Pulse): { suspectMs: number; deadMs: number } {
  const sd = Math.sqrt(varianceMs);
  return { suspectMs: Math.max(2 * meanMs, meanMs + 4 * sd), deadMs: Math.max(5 * meanMs, meanMs + 10 * sd) };
}

/** "has not been heard for 5012 ms; its heartbeats came every 1001 ms (sd 12 ms), limit 5005 ms" */
export function describeSilence(pulse: Pulse, nowMs: number, limitMs: number): string {
  const [silence, mean, sd, limit] = [nowMs - pulse.lastMs, pulse.meanMs, Math.sqrt(pulse.varianceMs), limitMs].map(
    Math.round,
  );
  return `has not been heard for ${silence} ms; its heartbeats came every ${mean} ms (sd ${sd} ms), limit ${limit} ms`;
}

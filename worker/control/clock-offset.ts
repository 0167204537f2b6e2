// How far this host's clock is from the coordinator's, reckoned as NTP does (RFC 5905, section 8) from one question and its answer:
//
//     worker         joined --------------------------- welcomed        each by its own clock
//     coordinator          \-- arrived ...... sent --/
//
// What the coordinator takes in between does not count. The way there and the way back are taken to last equally long, so the
// offset is off by half the round trip at most.

export interface ClockTimes {
  /** Milliseconds since 1970. */
  readonly joinedMs: number;
  readonly arrivedMs: number;
  readonly sentMs: number;
  readonly welcomedMs: number;
}

/** Positive when this clock is ahead. */
export function clockOffset({ joinedMs, arrivedMs, sentMs, welcomedMs }: ClockTimes): {
  readonly offsetSeconds: number;
  readonly roundTripSeconds: number;
} {
  return {
    offsetSeconds: (joinedMs - arrivedMs + (welcomedMs - sentMs)) / 2000,
    roundTripSeconds: Math.max(0, welcomedMs - joinedMs - (sentMs - arrivedMs)) / 1000,
  };
}

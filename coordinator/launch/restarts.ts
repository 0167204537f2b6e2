// Whether a process that has ended is started again, and when: decided from its exit and its history alone. Starting it
// is the supervisor's part (supervise.ts).

export interface RestartPolicy {
  /** So many within `withinMs`; 0 never starts anything again. */
  readonly tries: number;
  readonly withinMs: number;
  /** Before the first; doubled each time. */
  readonly firstDelayMs: number;
  readonly longestDelayMs: number;
}

/** Five within ten minutes, after 1, 2, 4, 8 and 16 seconds. */
export const defaultRestartPolicy: RestartPolicy = {
  tries: 5,
  withinMs: 600_000,
  firstDelayMs: 1000,
  longestDelayMs: 30_000,
};

/** How a process ended: its exit code, or null with the signal that killed it. */
export interface Exit {
  readonly code: number | null;
  readonly signal: NodeJS.Signals | null;
}

export type Restart =
  | { readonly kind: "again"; readonly delayMs: number; readonly tries: string }
  | { readonly kind: "no"; readonly why: string };

/** Exit codes after which a process would end the same way again, see exitCodeOf, and those of one that was told to go. */
const finalCodes: Readonly<Record<number, string>> = {
  0: "it was done",
  2: "its command line or configuration is wrong",
  3: "its numbers were not finite",
  4: "it was refused, or its machine lacks what it takes",
  130: "it was told to stop",
};

/** The history of one process and those that took its place. */
export class Restarts {
  readonly #policy: RestartPolicy;
  #times: number[] = [];

  constructor(policy: RestartPolicy = defaultRestartPolicy) {
    this.#policy = policy;
  }

  /** The process has just ended. What is counted is what is decided here: whoever gets "again" starts it. */
  ended({ code }: Exit, nowMs: number): Restart {
    const { tries, withinMs, firstDelayMs, longestDelayMs } = this.#policy;
    const final = code === null ? undefined : finalCodes[code];
    if (final !== undefined) return { kind: "no", why: `${final} (exit code ${code})` };
    if (tries === 0) return { kind: "no", why: "restarts are turned off" };
    this.#times = this.#times.filter((time) => nowMs - time < withinMs);
    if (this.#times.length >= tries) {
      return { kind: "no", why: `it ended ${tries + 1} times within ${withinMs / 60_000} minutes` };
    }
    const delayMs = Math.min(longestDelayMs, firstDelayMs * 2 ** this.#times.length);
    this.#times.push(nowMs);
    return { kind: "again", delayMs, tries: `${this.#times.length} of ${tries}` };
  }
}

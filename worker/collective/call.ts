// One collective call in progress, however it travels. A state machine that is pushed, not a loop that waits: leaving it
// behind leaves nothing running. session.ts pushes it whenever something came.

export interface Call {
  /** Does everything that can be done now. */
  advance(): Outcome;
  /** What it waits for, for the sentence when it is broken off. */
  describe(): string;
  /** Payload bytes that this rank moved to other ranks. */
  readonly bytesSent: number;
  /** Those of them that left the host. */
  readonly bytesBetweenHosts: number;
  /** For the details of an error. */
  readonly step: number;
  readonly bucket: number;
}

export type Outcome =
  | { readonly kind: "pending" }
  | { readonly kind: "done" }
  /** What was expected and what came, as a sentence and as the details of an error. */
  | { readonly kind: "broken"; readonly sentence: string; readonly facts: Readonly<Record<string, string | number>> };

/** One call after another as one: a phase is made when its turn comes. */
export function inSequence(phases: readonly (() => Call)[], { step, bucket }: Pick<Call, "step" | "bucket">): Call {
  const begun: Call[] = [];
  const total = (of: "bytesSent" | "bytesBetweenHosts"): number => begun.reduce((sum, call) => sum + call[of], 0);
  let finished = 0;
  return {
    step,
    bucket,
    get bytesSent() {
      return total("bytesSent");
    },
    get bytesBetweenHosts() {
      return total("bytesBetweenHosts");
    },
    advance() {
      for (; finished < phases.length; finished++) {
        begun[finished] ??= phases[finished]!();
        const outcome = begun[finished]!.advance();
        if (outcome.kind !== "done") return outcome;
      }
      return { kind: "done" };
    },
    describe: () => begun[finished]?.describe() ?? `about to begin step ${step} bucket ${bucket}`,
  };
}

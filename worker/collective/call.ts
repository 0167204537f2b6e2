// One collective call in progress, however it travels. A state machine that is pushed, not a loop that waits: leaving it
// behind leaves nothing running. session.ts pushes it whenever something came.

export interface Call {
  /** Does everything that can be done now. */
  advance(): Outcome;
  /** What it waits for, for the sentence when it is broken off. */
  describe(): string;
  /** Payload bytes that this rank moved to other ranks. */
  readonly bytesSent: number;
  /** For the details of an error. */
  readonly step: number;
  readonly bucket: number;
}

export type Outcome =
  | { readonly kind: "pending" }
  | { readonly kind: "done" }
  /** What was expected and what came, as a sentence and as the details of an error. */
  | { readonly kind: "broken"; readonly sentence: string; readonly facts: Readonly<Record<string, string | number>> };

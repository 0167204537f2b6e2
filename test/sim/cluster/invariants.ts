// What must hold whatever happens, by the names that ARCHITECTURE.md gives it, and how often each was looked at. The first
// that does not hold ends the schedule with a sentence.

export const invariantNames = [
  "exactly once",
  "a commit needs every vote",
  "committed never goes back",
  "survivors are never restarted",
  "same maths",
  "no weights differ unseen",
  "a checkpoint counts when it is whole",
  "a dead coordinator loses nothing",
  "named cause",
  "every queue is bounded",
  "the run goes on",
] as const;
export type Invariant = (typeof invariantNames)[number];

export class Invariants {
  readonly checked = Object.fromEntries(invariantNames.map((name) => [name, 0])) as Record<Invariant, number>;

  /** The first that did not hold. Not thrown: what is simulated might catch it. */
  broken: Error | undefined;

  hold(name: Invariant, condition: boolean, sentence: () => string): void {
    this.checked[name] += 1;
    if (!condition) this.broken ??= new Error(`"${name}" does not hold: ${sentence()}`);
  }
}

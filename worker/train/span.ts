// When something was under way in this process, whatever thread did it.

/** Milliseconds since 1970. */
export interface Span {
  readonly began: number;
  readonly ended: number;
}

/** Milliseconds since 1970 that never go back, alike in all threads to within a fraction of one. */
export function now(): number {
  return performance.timeOrigin + performance.now();
}

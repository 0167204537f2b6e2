// Who is in charge of which part of a buffer: chunk r of n belongs to rank r. The same on every transport, so that what a
// reduce-scatter leaves with a rank doesn't depend on how the bytes travelled.

/** Chunks begin at multiples of a cache line of so many float32, so that no two ranks write to one. */
export const chunkElements = 16;

/** Elements [begin, end) of a buffer of `length` float32 elements that `rank` is in charge of; may be empty. */
export function chunkOf(
  rank: number,
  worldSize: number,
  length: number,
): { readonly begin: number; readonly end: number } {
  const lines = Math.ceil(length / chunkElements);
  const cut = (index: number): number => Math.min(length, Math.floor((index * lines) / worldSize) * chunkElements);
  return { begin: cut(rank), end: cut(rank + 1) };
}

/** Bytes [begin, end) of a buffer. */
export interface ByteRange {
  readonly begin: number;
  readonly end: number;
}

/** The same in bytes, of a buffer whose last element may be incomplete. */
export function chunkBytes(rank: number, worldSize: number, byteLength: number): ByteRange {
  const { begin, end } = chunkOf(rank, worldSize, Math.ceil(byteLength / 4));
  return { begin: Math.min(byteLength, 4 * begin), end: Math.min(byteLength, 4 * end) };
}

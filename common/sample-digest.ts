// Digests of samples that can be added up: the sum over any set of samples is the same however they were divided among
// workers and steps. So two runs that have trained on the same samples have the same digest, and a sample that was left
// out or counted twice shows. Finds mistakes, not malice.

export const emptyDigest = "0000000000000000";

/** Of one sample: its tokens and its targets, in order. 16 hexadecimal digits. */
export function digestOfSample(...parts: readonly Iterable<number>[]): string {
  let a = 0x9e3779b1;
  let b = 0x85ebca77;
  for (const part of parts) {
    for (const value of part) {
      a = rotate(Math.imul(a ^ value, 0xc2b2ae3d));
      b = rotate(Math.imul(b + value, 0x27d4eb2f));
    }
    // Where one part ends and the next begins counts too.
    a = Math.imul(a ^ 0x165667b1, 0x9e3779b1);
    b = Math.imul(b ^ 0x165667b1, 0x85ebca77);
  }
  return hex(finish(a)) + hex(finish(b));
}

/** The digest of both together; the order does not matter. */
export function addDigests(one: string, other: string): string {
  const sum = (begin: number): number =>
    (Number.parseInt(one.slice(begin, begin + 8), 16) + Number.parseInt(other.slice(begin, begin + 8), 16)) >>> 0;
  return hex(sum(0)) + hex(sum(8));
}

function rotate(x: number): number {
  return (x << 15) | (x >>> 17);
}

function finish(h: number): number {
  h = Math.imul(h ^ (h >>> 16), 0x85ebca6b);
  h = Math.imul(h ^ (h >>> 13), 0xc2b2ae35);
  return (h ^ (h >>> 16)) >>> 0;
}

function hex(word: number): string {
  return (word >>> 0).toString(16).padStart(8, "0");
}

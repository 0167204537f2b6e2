// A text as the set of its shingles (Broder, 1997): all runs of three words, each a 32-bit number, sorted. How alike two
// texts are is the share of shingles that they have in common. Knows nothing of documents or of finding the pairs.
//
//   "Buy now, buy NOW!"   words     buy now buy now
//                         shingles  {buy now buy, now buy now}

/** Words to a shingle: more, and a single changed word in a short mail makes it another; fewer, and all mails are alike. */
export const shingleWords = 3;

/** A letter of a script without spaces is a word; elsewhere words are runs of letters and digits. Case is gone before. */
const wordPattern =
  /[\p{Script=Han}\p{Script=Hiragana}\p{Script=Katakana}\p{Script=Thai}]\p{M}*|(?:(?![\p{Script=Han}\p{Script=Hiragana}\p{Script=Katakana}\p{Script=Thai}])[\p{L}\p{N}\p{M}])+/gu;

/**
 * What is left of a text when layout, punctuation and case do not count: words (NFKC, lower case) with one space between.
 * A text without words is itself, without white space at its ends.
 */
export function normalise(text: string): string {
  const words = text.normalize("NFKC").toLowerCase().match(wordPattern);
  return words === null ? text.trim() : words.join(" ");
}

/**
 * The shingles of a normalised text, sorted, each once. Fewer than three words make one shingle together.
 * Two shingles have the same number by chance once in 4 billion.
 */
export function shinglesOf(normalised: string): Uint32Array {
  const words: number[] = [];
  for (let from = 0; from <= normalised.length;) {
    const space = normalised.indexOf(" ", from);
    const to = space < 0 ? normalised.length : space;
    words.push(hashCharacters(normalised, from, to));
    from = to + 1;
  }
  const count = Math.max(1, words.length - shingleWords + 1);
  const shingles = new Uint32Array(count);
  for (let i = 0; i < count; i++) {
    let hash = 0x9e3779b9;
    for (let j = i; j < Math.min(i + shingleWords, words.length); j++) hash = mix(Math.imul(hash, 31) + words[j]!);
    shingles[i] = hash;
  }
  shingles.sort();
  let kept = 1;
  for (let i = 1; i < count; i++) if (shingles[i] !== shingles[i - 1]) shingles[kept++] = shingles[i]!;
  return shingles.slice(0, kept);
}

/** Shared shingles over all shingles, 0 to 1 (Jaccard, 1912). Both sorted, each number once, neither empty. */
export function jaccard(a: Uint32Array, b: Uint32Array): number {
  let shared = 0;
  for (let i = 0, j = 0; i < a.length && j < b.length;) {
    const [left, right] = [a[i]!, b[j]!];
    if (left === right) shared++;
    if (left <= right) i++;
    if (right <= left) j++;
  }
  return shared / (a.length + b.length - shared);
}

/** FNV-1a over UTF-16 units, then mixed. */
function hashCharacters(text: string, from: number, to: number): number {
  let hash = 0x811c9dc5;
  for (let i = from; i < to; i++) hash = Math.imul(hash ^ text.charCodeAt(i), 0x01000193);
  return mix(hash);
}

/** MurmurHash3's finaliser: every bit of the input changes half of the output's. */
function mix(value: number): number {
  let hash = value | 0;
  hash = Math.imul(hash ^ (hash >>> 16), 0x85ebca6b);
  hash = Math.imul(hash ^ (hash >>> 13), 0xc2b2ae35);
  return (hash ^ (hash >>> 16)) >>> 0;
}

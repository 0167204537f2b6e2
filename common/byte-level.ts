// The byte-level alphabet and the word boundaries of GPT-2 (Radford et al., 2019): what the trainer and the encoder
// must agree on to the last character. Not a tokenizer: no merges, no ids.

/**
 * GPT-2's pre-tokenizer: contractions, words, numbers and runs of other signs, each with the space before it, and
 * white space. The same expression, in JavaScript's meaning of \s, as in @huggingface/tokenizers.
 */
const wordPattern = /'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+/gu;

/** The words of `text`, white space included: joined they give `text` again. */
export function splitWords(text: string): readonly string[] {
  return text.match(wordPattern) ?? [];
}

/**
 * Cuts `text` into stretches of about `length` characters whose words, put one after another, are the words of the whole.
 * A cut is made only between a visible character and white space: no word reaches over such a place, and a
 * run of white space stays whole. Text without any such place after `length` characters is one stretch.
 */
export function* segmentsOf(text: string, length = 1 << 19): Generator<string> {
  const boundary = /\S(?=\s)/g;
  let start = 0;
  while (start < text.length) {
    boundary.lastIndex = start + length;
    const found = start + length < text.length ? boundary.exec(text) : null;
    const end = found === null ? text.length : found.index + 1;
    yield text.slice(start, end);
    start = end;
  }
}

/** A copy of `text` that shares no memory with the longer string that it was cut from: for what is kept. */
export function detached(text: string): string {
  const narrow = Buffer.from(text, "latin1").toString("latin1");
  return narrow === text ? narrow : Buffer.from(text, "utf16le").toString("utf16le");
}

/**
 * The printable character that stands for each byte in vocabularies: itself for the visible ones of Latin-1,
 * 256 and up for the others. 256 entries, no two alike.
 */
export const characterOfByte: readonly string[] = byteAlphabet();

/** All 256 characters in the order of GPT-2's vocabulary, which is the order of their code points. */
export const alphabet: readonly string[] = [...characterOfByte].sort((a, b) => a.charCodeAt(0) - b.charCodeAt(0));

function byteAlphabet(): string[] {
  let next = 256;
  return Array.from({ length: 256 }, (_, byte) => {
    const visible = (byte >= 0x21 && byte <= 0x7e) || (byte >= 0xa1 && byte <= 0xac) || byte >= 0xae;
    return String.fromCharCode(visible ? byte : next++);
  });
}

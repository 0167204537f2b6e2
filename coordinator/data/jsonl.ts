// Documents from JSON Lines: one object a line, its text in a named field. The file is streamed, so it may be larger than
// memory for its other fields; every bad line is counted and the first five are named at once.

import { createReadStream } from "node:fs";
import { createDocument, type Document, isBlank, largestTextBytes } from "./document.ts";
import { checkText, invalidData, normalizeText } from "./utf8.ts";

export interface JsonlOptions {
  /** A line for the user about what was left out. */
  readonly onNotice?: ((line: string) => void) | undefined;
  readonly signal?: AbortSignal | undefined;
}

const problemsNamed = 5;

/**
 * The documents of `path`; blank lines are skipped, documents without text are left out with a notice.
 * @throws RingtuneError data_invalid: lines that are not JSON objects, lack the field, or have no string there
 */
export async function readJsonl(path: string, field: string, options: JsonlOptions): Promise<Document[]> {
  const documents: Document[] = [];
  const problems: { line: number; problem: string }[] = [];
  let lines = 0;
  let bad = 0;
  let blank = 0;
  for await (const { number, offset, bytes } of linesOf(path, options.signal)) {
    if (isBlank(bytes)) continue;
    lines++;
    const text = textOf(checkText(bytes, `${path}:${number}`, offset), field);
    if ("problem" in text) {
      if (++bad <= problemsNamed) problems.push({ line: number, problem: text.problem });
    } else if (text.value.trim() === "") blank++;
    else documents.push(createDocument(`${path}:${number}`, path, normalizeText(Buffer.from(text.value, "utf8"))));
  }
  const [first] = problems;
  if (bad === 1 && first !== undefined) {
    const { line, problem } = first;
    throw invalidData(`${path}:${line}: ${problem}; correct the line, or set data.text_field`, { path, line });
  }
  if (bad > 0) {
    const list = problems.map(({ line, problem }) => `  line ${line}: ${problem}`).join("\n");
    const more = bad > problemsNamed ? `\n  and ${bad - problemsNamed} more` : "";
    throw invalidData(
      `${path}: ${bad} of ${lines} lines cannot be used; correct them, or set data.text_field:\n${list}${more}`,
      { path, bad, lines },
    );
  }
  if (blank > 0) options.onNotice?.(`${path}: ${blank} of ${lines} documents left out: their "${field}" is empty`);
  return documents;
}

/** The object that a line holds, or what is wrong with it. */
export function parseObjectLine(line: Buffer): { value: Record<string, unknown> } | { problem: string } {
  let value: unknown;
  try {
    value = JSON.parse(line.toString("utf8"));
  } catch (error) {
    return { problem: `not JSON: ${(error as Error).message}` };
  }
  if (typeof value === "object" && value !== null && !Array.isArray(value)) {
    return { value: value as Record<string, unknown> };
  }
  return { problem: `${kindOf(value)} instead of an object` };
}

function textOf(line: Buffer, field: string): { value: string } | { problem: string } {
  const parsed = parseObjectLine(line);
  if ("problem" in parsed) return parsed;
  const { value } = parsed;
  if (!Object.hasOwn(value, field)) {
    const names = Object.keys(value);
    const has =
      names.length === 0
        ? "no fields"
        : names
            .slice(0, 6)
            .map((name) => JSON.stringify(name))
            .join(", ");
    return { problem: `no field "${field}"; it has ${has}${names.length > 6 ? ", ..." : ""}` };
  }
  const text = value[field];
  return typeof text === "string" ? { value: text } : { problem: `"${field}" is ${kindOf(text)} instead of a string` };
}

export function kindOf(value: unknown): string {
  if (value === null) return "null";
  if (Array.isArray(value)) return "a list";
  return typeof value === "object" ? "an object" : `a ${typeof value}`;
}

interface Line {
  /** From 1. */
  readonly number: number;
  /** Of its first byte in the file. */
  readonly offset: number;
  readonly bytes: Buffer;
}

/** Lines in bytes, without their \n and without a byte order mark. */
export async function* linesOf(path: string, signal: AbortSignal | undefined): AsyncGenerator<Line> {
  let pieces: Buffer[] = [];
  let pending = 0;
  let number = 1;
  let offset = 0;
  const take = (): Line => {
    const whole = pieces.length === 1 ? pieces[0]! : Buffer.concat(pieces);
    const hasMark = offset === 0 && whole.subarray(0, 3).equals(byteOrderMark);
    const line = { number: number++, offset, bytes: hasMark ? whole.subarray(3) : whole };
    offset += pending + 1;
    pieces = [];
    pending = 0;
    return line;
  };
  const stream = createReadStream(path, { highWaterMark: 1 << 20, ...(signal && { signal }) });
  for await (const chunk of stream as AsyncIterable<Buffer>) {
    let from = 0;
    for (let end = chunk.indexOf(0x0a); end >= 0; end = chunk.indexOf(0x0a, from)) {
      pieces.push(chunk.subarray(from, end));
      pending += end - from;
      from = end + 1;
      yield take();
    }
    if (from < chunk.length) pieces.push(chunk.subarray(from));
    pending += chunk.length - from;
    if (pending > largestTextBytes) {
      throw invalidData(
        `${path}: line ${number} has more than ${largestTextBytes} bytes; is it JSON with one document per line?`,
        { path, line: number, limit: largestTextBytes },
      );
    }
  }
  if (pending > 0) yield take();
}

const byteOrderMark = Buffer.from([0xef, 0xbb, 0xbf]);

// Lines of a file or of standard input, one at a time: of plain text, or JSON objects. What is in the objects is the
// caller's business.

import { createReadStream } from "node:fs";
import { createInterface } from "node:readline";
import { describeError, RingtuneError } from "../../common/errors.ts";

export interface Line {
  /** "mails.jsonl:12", "standard input:3". */
  readonly where: string;
  /** The line itself, or the object that it is. */
  readonly value: string | Readonly<Record<string, unknown>>;
}

/**
 * The lines of `path`, "-" being standard input; blank ones are left out. They are JSON when the name says so (.jsonl), or
 * when the first begins as an object does. Throws `data_invalid` that names the line.
 */
export async function* readLines(path: string): AsyncGenerator<Line> {
  const name = path === "-" ? "standard input" : path;
  const input = path === "-" ? process.stdin : createReadStream(path);
  const failed = new Promise<never>((_, reject) =>
    input.once("error", (cause: NodeJS.ErrnoException) => {
      const why = cause.code === "ENOENT" ? "there is no such file" : describeError(cause);
      reject(new RingtuneError("data_invalid", `cannot read ${name}: ${why}`, { cause }));
    }),
  );
  failed.catch(() => undefined);
  const lines = createInterface({ input, crlfDelay: Infinity })[Symbol.asyncIterator]();
  let isJson: boolean | undefined = path.endsWith(".jsonl") ? true : undefined;
  for (let number = 1; ; number++) {
    const next = await Promise.race([lines.next(), failed]);
    if (next.done === true) return;
    const text = number === 1 ? next.value.replace(/^\uFEFF/, "") : next.value;
    if (text.trim() === "") continue;
    isJson ??= text.startsWith("{");
    const where = `${name}:${number}`;
    yield { where, value: isJson ? parseObject(text, where) : text };
  }
}

function parseObject(text: string, where: string): Record<string, unknown> {
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch (cause) {
    throw new RingtuneError("data_invalid", `${where}: not JSON: ${describeError(cause)}`, { cause });
  }
  if (typeof value === "object" && value !== null && !Array.isArray(value)) return value as Record<string, unknown>;
  throw new RingtuneError("data_invalid", `${where}: a JSON object is expected on each line`);
}

/** The string in `field`. */
export function textOf({ where, value }: Line, field: string): string {
  if (typeof value === "string") return value;
  return asString(value[field], where, field);
}

/** The list of words in `field`; undefined where a line has none. */
export function wordsIn({ where, value }: Line, field: string): string[] | undefined {
  if (typeof value === "string" || value[field] === undefined) return undefined;
  const list = value[field];
  if (!Array.isArray(list)) throw new RingtuneError("data_invalid", `${where}: "${field}" is not a list of words`);
  return list.map((word) => asString(word, where, field));
}

function asString(value: unknown, where: string, field: string): string {
  if (typeof value === "string") return value;
  const found = value === undefined ? "there is none" : `it is ${JSON.stringify(value).slice(0, 40)}`;
  throw new RingtuneError("data_invalid", `${where}: "${field}" should be a text, and ${found}`);
}

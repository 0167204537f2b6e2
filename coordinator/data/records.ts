// Lines of JSONL files as objects, for tasks whose data is more than text, and the account of what is wrong with them: the
// first bad lines are named together. What must be in a line is the tasks' business.

import { createHash } from "node:crypto";
import { extname } from "node:path";
import type { Config } from "../../common/config/schema.ts";
import { isBlank } from "./document.ts";
import { listFiles, type LoadDocumentsOptions } from "./documents.ts";
import { kindOf, linesOf, parseObjectLine } from "./jsonl.ts";
import { checkText, invalidData } from "./utf8.ts";

export interface DataRecord {
  /** "mail.jsonl:12" */
  readonly where: string;
  readonly value: Readonly<Record<string, unknown>>;
}

export interface LoadedRecords {
  readonly records: readonly DataRecord[];
  /** Of the lines as they stand in the files. */
  readonly digest: string;
}

/** Thrown where a record is read; gathered with its line by `readRecords`. */
export class RecordProblem extends Error {}

type Fields = Pick<Config["data"], "source" | "text_field" | "label_field">;

/**
 * All lines of the .jsonl files of `source`, in order, then the mails of "spam-assassin". Other files are refused when they are named, and left out of folders.
 * @throws RingtuneError data_invalid: no such file, no lines, lines that are not JSON objects
 */
export async function loadRecords(
  { source, text_field: textField, label_field: labelField }: Fields,
  kind: Config["task"]["kind"],
  options: LoadDocumentsOptions = {},
): Promise<LoadedRecords> {
  const hash = createHash("sha256");
  const lines: { where: string; bytes: Buffer }[] = [];
  const seen = new Set<string>();
  const mails: DataRecord[] = [];
  for (const path of typeof source === "string" ? [source] : source) {
    if (path === "spam-assassin") {
      const { loadSpamAssassin } = await import("./email/spam-assassin.ts");
      for (const { id, text, label } of await loadSpamAssassin(options)) {
        mails.push({ where: id, value: { [textField]: text, [labelField]: label } });
        hash.update(text).update("\n");
      }
      continue;
    }
    for (const file of await listFiles(path, seen, options)) {
      if (extname(file.path).toLowerCase() !== ".jsonl") {
        if (!file.named) continue;
        throw invalidData(`${file.path}: task.kind ${kind} learns from .jsonl files, an object on each line`, { path });
      }
      for await (const { number, offset, bytes } of linesOf(file.path, options.signal)) {
        if (isBlank(bytes)) continue;
        const where = `${file.path}:${number}`;
        lines.push({ where, bytes: checkText(bytes, where, offset) });
        hash.update(bytes).update("\n");
      }
    }
  }
  if (lines.length + mails.length === 0) {
    const named = typeof source === "string" ? source : source.join(", ");
    throw invalidData(`${named}: 0 lines in .jsonl files, and task.kind ${kind} learns from them`, { lines: 0 });
  }
  const records = readAll(lines, ({ where, bytes }) => {
    const parsed = parseObjectLine(bytes);
    if ("problem" in parsed) throw new RecordProblem(parsed.problem);
    return { where, value: parsed.value };
  });
  return { records: [...records, ...mails], digest: hash.digest("hex") };
}

const problemsNamed = 5;

/**
 * `read` of every line. It throws RecordProblem for a line that can't be used.
 * @throws RingtuneError data_invalid, which names the first five with file and line
 */
export function readAll<L extends { readonly where: string }, T>(lines: readonly L[], read: (line: L) => T): T[] {
  const found: T[] = [];
  const problems: string[] = [];
  let bad = 0;
  for (const line of lines) {
    try {
      found.push(read(line));
    } catch (error) {
      if (!(error instanceof RecordProblem)) throw error;
      if (++bad <= problemsNamed) problems.push(`${line.where}: ${error.message}`);
    }
  }
  const [first] = problems;
  if (first === undefined) return found;
  const more = bad > problemsNamed ? `\n  and ${bad - problemsNamed} more` : "";
  const message =
    bad === 1
      ? `${first}; correct the line`
      : `${bad} of ${lines.length} lines cannot be used; correct them:\n${problems.map((line) => `  ${line}`).join("\n")}${more}`;
  throw invalidData(message, { bad, lines: lines.length });
}

/** The string in `field`, with \n for \r\n. Throws RecordProblem. */
export function textIn({ value }: DataRecord, field: string): string {
  const text = fieldOf(value, field);
  if (typeof text !== "string") throw new RecordProblem(`"${field}" is ${kindOf(text)} instead of a string`);
  return text.replaceAll("\r\n", "\n");
}

/** The list in `field`. Throws RecordProblem. */
export function listIn({ value }: DataRecord, field: string): readonly unknown[] {
  const list = fieldOf(value, field);
  if (!Array.isArray(list)) throw new RecordProblem(`"${field}" is ${kindOf(list)} instead of a list`);
  return list;
}

export function fieldOf(value: Readonly<Record<string, unknown>>, field: string): unknown {
  if (Object.hasOwn(value, field)) return value[field];
  const names = Object.keys(value).map((name) => JSON.stringify(name));
  const has = names.length === 0 ? "no fields" : names.slice(0, 6).join(", ") + (names.length > 6 ? ", ..." : "");
  throw new RecordProblem(`no field "${field}"; it has ${has}`);
}

// The documents that a run learns from: the State of the Union addresses, the SpamAssassin mails, text files, JSONL files,
// folders of them.
// Finds and reads files; nothing here splits or tokenises.

import { readdir, readFile, realpath, stat } from "node:fs/promises";
import { extname, join } from "node:path";
import { RingtuneError } from "../../common/errors.ts";
import { createDocument, type Document, isBlank, largestTextBytes } from "./document.ts";
import { readJsonl } from "./jsonl.ts";
import { loadSotu } from "./sotu.ts";
import { checkText, invalidData, normalizeText } from "./utf8.ts";

export interface LoadDocumentsOptions {
  /** A line for the user about what was left out. */
  readonly onNotice?: ((line: string) => void) | undefined;
  readonly signal?: AbortSignal | undefined;
}

export interface DocumentSources {
  readonly source: string | readonly string[];
  /** Field of a JSONL line that holds the text. */
  readonly text_field: string;
  /** First and last year of the addresses to take. */
  readonly years?: readonly number[] | undefined;
}

/**
 * All documents of the sources, in the order given; folders are read in the order of their names' code units, subfolders
 * included. In a folder, files of other kinds and empty files are left out with a notice; named by the user, they are errors.
 * @throws RingtuneError data_invalid: a source is missing, of an unknown kind, empty, not UTF-8, or malformed JSONL
 */
export async function loadDocuments(data: DocumentSources, options: LoadDocumentsOptions = {}): Promise<Document[]> {
  const documents: Document[] = [];
  const seen = new Set<string>();
  const sources = typeof data.source === "string" ? [data.source] : data.source;
  for (const source of sources) {
    if (source === "sotu") documents.push(...(await loadSotu(data.years, options)));
    else if (source === "spam-assassin") documents.push(...(await loadMails(options)));
    else
      for (const file of await listFiles(source, seen, options)) documents.push(...(await load(file, data, options)));
  }
  if (documents.length === 0) {
    throw invalidData(`${sources.join(", ")}: no documents: 0 .txt, .md or .jsonl files with text were found`, {
      documents: 0,
    });
  }
  return documents;
}

export interface SourceFile {
  readonly path: string;
  /** Named by the user, rather than found in a folder. */
  readonly named: boolean;
}

const kinds = new Map([
  [".txt", "text"],
  [".md", "text"],
  [".jsonl", "jsonl"],
]);

/** The files that a path means, each once; of a folder all of a known kind, in the order of their names. */
export async function listFiles(path: string, seen: Set<string>, options: LoadDocumentsOptions): Promise<SourceFile[]> {
  const info = await stat(path).catch((error: unknown) => {
    throw unreadable(path, error);
  });
  if (!info.isDirectory()) {
    if (!(await isNew(path, seen, options))) return [];
    if (kinds.has(extname(path).toLowerCase())) return [{ path, named: true }];
    throw invalidData(
      `${path}: files of kind "${extname(path)}" are not known; name it .txt or .md (one document) or .jsonl (one per line)`,
      { path },
    );
  }
  const found: SourceFile[] = [];
  const other: string[] = [];
  const walk = async (folder: string): Promise<void> => {
    options.signal?.throwIfAborted();
    if (!(await isNew(folder, seen, options))) return;
    const names = (await readdir(folder)).filter((name) => !name.startsWith("."));
    for (const name of names.sort((a, b) => (a < b ? -1 : 1))) {
      const inside = join(folder, name);
      const entry = await stat(inside).catch(() => undefined);
      if (entry?.isDirectory()) await walk(inside);
      else if (!entry?.isFile() || !kinds.has(extname(name).toLowerCase())) other.push(inside);
      else if (await isNew(inside, seen, options)) found.push({ path: inside, named: false });
    }
  };
  await walk(path).catch((error: unknown) => {
    throw options.signal?.aborted ? error : unreadable(path, error);
  });
  if (other.length > 0) {
    const first = other.slice(0, 3).join(", ");
    options.onNotice?.(`${path}: ${other.length} files left out that are not .txt, .md or .jsonl (${first})`);
  }
  return found;
}

/** A file named twice, or reached through a link as well, is read once: else a copy could land in validation. */
async function isNew(path: string, seen: Set<string>, { onNotice }: LoadDocumentsOptions): Promise<boolean> {
  const real = await realpath(path);
  if (seen.has(real)) onNotice?.(`${path}: named before, read once`);
  const fresh = !seen.has(real);
  seen.add(real);
  return fresh;
}

async function load(file: SourceFile, data: DocumentSources, options: LoadDocumentsOptions): Promise<Document[]> {
  options.signal?.throwIfAborted();
  const { path } = file;
  try {
    const documents =
      kinds.get(extname(path).toLowerCase()) === "jsonl"
        ? await readJsonl(path, data.text_field, options)
        : await readText(path);
    if (documents.length === 0 && file.named) throw emptyFile(path, (await stat(path)).size);
    if (documents.length === 0) options.onNotice?.(`${path}: left out: it holds no text`);
    return documents;
  } catch (error) {
    if (options.signal?.aborted) throw error;
    throw unreadable(path, error);
  }
}

async function readText(path: string): Promise<Document[]> {
  const { size } = await stat(path);
  if (size > largestTextBytes) {
    throw invalidData(
      `${path}: ${size} bytes are too many for one document, limit ${largestTextBytes}; split it into several files, or write it as .jsonl with one document per line`,
      { path, size, limit: largestTextBytes },
    );
  }
  const bytes = normalizeText(checkText(await readFile(path), path));
  return isBlank(bytes) ? [] : [createDocument(path, path, bytes)];
}

function unreadable(path: string, error: unknown): unknown {
  const { code, path: inside = path } = error as NodeJS.ErrnoException;
  if (error instanceof RingtuneError || code === undefined) return error;
  const why = code === "ENOENT" ? "there is no such file or folder" : `it cannot be read (${code})`;
  return invalidData(`${inside}: ${why}; data.source takes "sotu", "spam-assassin" or paths`, { path: inside, code });
}

function emptyFile(path: string, size: number): RingtuneError {
  const what = size === 0 ? "is empty (0 bytes)" : `holds ${size} bytes but no text`;
  return invalidData(`${path}: the file ${what}; give a file with text`, { path, size });
}

async function loadMails({ signal }: LoadDocumentsOptions): Promise<Document[]> {
  const { loadSpamAssassin } = await import("./email/spam-assassin.ts");
  const mails = await loadSpamAssassin({ signal });
  return mails.map(({ id, text, label }) => createDocument(id, "spam-assassin", Buffer.from(text), label));
}

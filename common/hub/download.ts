// One file from the Hub to its place: in a file of its own until its size and digest are what the Hub says, going on where
// a broken connection, or an earlier process, has stopped.

import { createHash, type Hash } from "node:crypto";
import { open, readdir, rename, rm, type FileHandle } from "node:fs/promises";
import { basename, dirname, join } from "node:path";
import { setTimeout as delay } from "node:timers/promises";
import { diskError } from "../disk-error.ts";
import { describeError, RingtuneError } from "../errors.ts";
import { isUnreachable, type Repository, type RepositoryFile } from "./repository.ts";

export interface DownloadOptions {
  readonly signal?: AbortSignal | undefined;
  /** How many bytes of the file are there: those of an earlier attempt first. */
  readonly onBytes?: (bytes: number) => void;
  /** Before an attempt that follows one which brought nothing; 1 s when left out, twice as long each time. */
  readonly pauseMs?: number;
}

/** Attempts in a row that bring nothing. */
const mostAttempts = 4;

/**
 * Downloads `file` to `path`, whose folder exists. Throws `download_failed` with both sizes or digests when it can't be had
 * as the Hub describes it, and `disk_failed`.
 */
export async function downloadFile(
  repository: Repository,
  file: RepositoryFile,
  path: string,
  options: DownloadOptions = {},
): Promise<void> {
  const { signal, onBytes = () => undefined, pauseMs = 1000 } = options;
  const partial = await adoptPartial(path);
  let damaged = false;
  for (let inVain = 0, before = -1; ;) {
    const { bytes, digest, failure } = await goOn(repository, file, partial, onBytes, signal);
    if (bytes === file.sizeBytes && digest === file.digest.hex) break;
    if (bytes >= file.sizeBytes) {
      await rm(partial, { force: true });
      if (damaged) throw wrong(repository, file, bytes, digest);
      damaged = true;
    }
    inVain = bytes > before && !damaged ? 1 : inVain + 1;
    before = bytes;
    if (inVain >= mostAttempts) throw incomplete(repository, file, bytes, failure);
    if (inVain > 1) await delay(pauseMs * 2 ** (inVain - 2), undefined, signal === undefined ? {} : { signal });
  }
  await rename(partial, path);
}

interface Attempt {
  readonly bytes: number;
  readonly digest: string;
  /** What ended it before the end. */
  readonly failure: unknown;
}

/** One attempt, from the end of what is in `partial`. */
async function goOn(
  repository: Repository,
  file: RepositoryFile,
  partial: string,
  onBytes: (bytes: number) => void,
  signal: AbortSignal | undefined,
): Promise<Attempt> {
  const handle = await open(partial, "a+").catch((error: unknown) => {
    throw diskError(`cannot write ${partial}`, error);
  });
  try {
    let hash = startHash(file);
    let bytes = await hashFile(handle, hash);
    let failure: unknown;
    onBytes(bytes);
    try {
      if (bytes < file.sizeBytes) {
        const part = await repository.read(file.path, bytes);
        if (part.from < bytes) {
          await handle.truncate(0);
          hash = startHash(file);
          bytes = 0;
        }
        for await (const chunk of part.bytes) {
          signal?.throwIfAborted();
          hash.update(chunk);
          await handle.appendFile(chunk);
          bytes += chunk.byteLength;
          onBytes(bytes);
          if (bytes > file.sizeBytes) break;
        }
      }
    } catch (error) {
      if (!isUnreachable(error)) throw diskError(`cannot write ${partial}`, error);
      failure = error;
    }
    if (bytes === file.sizeBytes) await handle.sync();
    return { bytes, digest: hash.digest("hex"), failure };
  } finally {
    await handle.close();
  }
}

function startHash({ digest, sizeBytes }: RepositoryFile): Hash {
  return digest.kind === "sha256" ? createHash("sha256") : createHash("sha1").update(`blob ${sizeBytes}\0`);
}

async function hashFile(handle: FileHandle, hash: Hash): Promise<number> {
  let bytes = 0;
  for await (const chunk of handle.createReadStream({ start: 0, autoClose: false, highWaterMark: 1 << 20 })) {
    hash.update(chunk as Buffer);
    bytes += (chunk as Buffer).byteLength;
  }
  return bytes;
}

/** A name that is this process's own, with what an earlier one, which lives no more, has left. */
async function adoptPartial(path: string): Promise<string> {
  const own = `${path}.${process.pid}.incomplete`;
  for (const name of await readdir(dirname(path)).catch(() => [])) {
    const [, pid] = new RegExp(`^${basename(path)}\\.(\\d+)\\.incomplete$`).exec(name) ?? [];
    if (pid === undefined || isAlive(Number(pid))) continue;
    await rename(join(dirname(path), name), own).catch(() => undefined);
  }
  return own;
}

function isAlive(pid: number): boolean {
  try {
    return pid === process.pid || process.kill(pid, 0);
  } catch (error) {
    return (error as NodeJS.ErrnoException).code === "EPERM";
  }
}

function wrong({ name }: Repository, { path, sizeBytes, digest }: RepositoryFile, bytes: number, found: string) {
  const what =
    bytes === sizeBytes ? `has ${digest.kind} ${found}, ${digest.hex}` : `has ${bytes} bytes or more, ${sizeBytes}`;
  return new RingtuneError(
    "download_failed",
    `${path} of ${name} ${what} were promised, twice; nothing of it is kept`,
    {
      details: { name, path, bytes, temporary: false },
    },
  );
}

function incomplete({ name }: Repository, { path, sizeBytes }: RepositoryFile, bytes: number, failure: unknown) {
  const why = failure === undefined ? "the server ended early" : describeError(failure);
  return new RingtuneError(
    "download_failed",
    `${path} of ${name} stopped after ${bytes} of ${sizeBytes} bytes (${why}); the next start goes on from there`,
    { details: { name, path, bytes, temporary: true }, cause: failure },
  );
}

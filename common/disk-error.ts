// The sentence for a failed read or write: the one place that puts the system's codes into words.
// What is not the disk's fault stays as it is.

import { RingtuneError } from "./errors.ts";

const reasons: Readonly<Record<string, string>> = {
  ENOSPC: "the disk is full",
  EDQUOT: "the disk quota is used up",
  EROFS: "the file system is read-only",
  EACCES: "permission denied",
  EPERM: "permission denied",
  ENOENT: "its parent folder is missing",
  EISDIR: "it is a folder, not a file",
  ENOTDIR: "a part of the path is a file, not a folder",
  ENAMETOOLONG: "the name is too long",
  EMFILE: "too many files are open",
  EIO: "the device reports an input/output error",
};

/** A system error's code in words: "the disk is full"; undefined for what is no system error. */
export function diskReason(cause: unknown): string | undefined {
  const { code } = (cause ?? {}) as { code?: unknown };
  if (cause instanceof RingtuneError || typeof code !== "string") return undefined;
  return reasons[code] ?? code;
}

/**
 * `doing` begins the sentence, "can't write runs/a/metrics.jsonl", and `then` ends it. System errors become
 * `disk_failed`, others are returned as they came.
 */
export function diskError(doing: string, cause: unknown, then = ""): unknown {
  const reason = diskReason(cause);
  if (reason === undefined) return cause;
  const { code } = cause as { code: string };
  return new RingtuneError("disk_failed", `${doing}: ${reason}${then}`, { details: { code }, cause });
}

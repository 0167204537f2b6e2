// The sentence for a failed read or write in a run directory; what is not the disk's fault stays as it is.

import { RingtuneError } from "../../common/errors.ts";

const reasons: Readonly<Record<string, string>> = {
  ENOSPC: "the disk is full",
  EDQUOT: "the disk quota is used up",
  EROFS: "the file system is read-only",
  EACCES: "permission denied",
  EPERM: "permission denied",
  ENOTDIR: "a part of the path is a file, not a folder",
  ENAMETOOLONG: "the name is too long",
  EMFILE: "too many files are open",
};

/** `doing` begins the sentence: "can't write runs/a/metrics.jsonl". System errors become `disk_failed`. */
export function diskError(doing: string, cause: unknown): unknown {
  const { code } = cause as { code?: unknown };
  if (cause instanceof RingtuneError || typeof code !== "string") return cause;
  return new RingtuneError("disk_failed", `${doing}: ${reasons[code] ?? code}`, { details: { code }, cause });
}

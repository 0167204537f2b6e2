// The tokens that let workers in. The coordinator keeps their hashes only, in the run directory, so that the coordinator
// that takes over after a crash knows them too:
//
//     runs/NAME/join-token         the token for workers that are started by hand; what its readers may know
//     runs/NAME/join-tokens.json   hash and end of every token: {"tokens": [{"sha256": "5f...", "expires": "2026-..."}]}
//
// A token has 192 random bits, so a fast hash will do: nobody guesses what it is of.

import { createHash, randomBytes, timingSafeEqual } from "node:crypto";
import { readFile, rm } from "node:fs/promises";
import { z } from "zod";
import { writeFileAtomic } from "../../common/atomic-file.ts";
import { describeError, RingtuneError } from "../../common/errors.ts";

export interface IssuedToken {
  readonly token: string;
  /** Milliseconds since 1970. */
  readonly expiresMs: number;
}

/** What a token is worth now. */
export type Verdict =
  | { readonly kind: "valid" }
  | { readonly kind: "unknown" }
  | { readonly kind: "expired"; readonly expiresMs: number; readonly nowMs: number };

export interface JoinTokens {
  /** Path of the token for workers that are started by hand. */
  readonly file: string;
  /** Resolves when its hash is in the run directory. */
  issue(ttlSeconds: number): Promise<IssuedToken>;
  /** For the processes that this one starts; it is written nowhere and ends with this process. */
  issueOwn(): string;
  /** Lets in who was given this token beforehand, as long as this process lasts: a secret of Kubernetes, say. */
  accept(token: string): void;
  judge(token: string): Verdict;
  /** The run is over: no token is of use any more. */
  discard(): Promise<void>;
}

const fileSchema = z.object({ tokens: z.array(z.object({ sha256: z.hex().length(64), expires: z.iso.datetime() })) });

/** So many are kept, expired ones among them, for whom the refusal then names; the first to end give way. */
const maxTokens = 1000;

/** A token left behind by an earlier coordinator stays the one in `join-token` as long as so much of its time is left. */
const freshShare = 0.5;

/**
 * The tokens of a run: those that an earlier coordinator of it left behind, and one in `join-token`. `file` gives the path
 * of a file in the run directory. Throws `run_missing` when the list of hashes can't be read.
 */
export async function openJoinTokens(options: {
  readonly file: (name: string) => string;
  readonly ttlSeconds: number;
  readonly nowMs?: () => number;
}): Promise<JoinTokens> {
  const { file, ttlSeconds, nowMs = Date.now } = options;
  const [list, own] = [file("join-tokens.json"), file("join-token")];
  let kept = await readList(list);
  const passing: Entry[] = [];
  let writing: Promise<unknown> = Promise.resolve();

  const write = (): Promise<void> => {
    const tokens = kept.map(({ hash, expiresMs }) => ({
      sha256: hash.toString("hex"),
      expires: new Date(expiresMs).toISOString(),
    }));
    const done = writing.then(() => writeFileAtomic(list, `${JSON.stringify({ tokens })}\n`, { mode: 0o600 }));
    writing = done.catch(() => undefined);
    return done;
  };
  const find = (token: string): Entry | undefined => {
    const hash = hashOf(token);
    let found: Entry | undefined;
    // All of them, whichever it is.
    for (const entry of [...kept, ...passing]) if (timingSafeEqual(entry.hash, hash)) found = entry;
    return found;
  };
  const tokens: JoinTokens = {
    file: own,
    async issue(seconds) {
      const token = draw();
      const expiresMs = nowMs() + seconds * 1000;
      kept = [...kept, { hash: hashOf(token), expiresMs }].sort((a, b) => a.expiresMs - b.expiresMs).slice(-maxTokens);
      await write();
      return { token, expiresMs };
    },
    issueOwn() {
      const token = draw();
      passing.push({ hash: hashOf(token), expiresMs: Number.POSITIVE_INFINITY });
      return token;
    },
    accept(token) {
      passing.push({ hash: hashOf(token), expiresMs: Number.POSITIVE_INFINITY });
    },
    judge(token) {
      const entry = find(token);
      if (entry === undefined) return { kind: "unknown" };
      const [{ expiresMs }, now] = [entry, nowMs()];
      return expiresMs > now ? { kind: "valid" } : { kind: "expired", expiresMs, nowMs: now };
    },
    async discard() {
      await writing;
      await Promise.all([own, list].map((path) => rm(path, { force: true })));
    },
  };
  const left = await readFile(own, "utf8").catch(() => "");
  const { expiresMs = 0 } = find(left.trim()) ?? {};
  if (expiresMs - nowMs() < freshShare * ttlSeconds * 1000) {
    const { token } = await tokens.issue(ttlSeconds);
    await writeFileAtomic(own, `${token}\n`, { mode: 0o600 });
  }
  return tokens;
}

interface Entry {
  /** SHA-256 */
  readonly hash: Buffer;
  readonly expiresMs: number;
}

function draw(): string {
  return randomBytes(24).toString("base64url");
}

function hashOf(token: string): Buffer {
  return createHash("sha256").update(token).digest();
}

async function readList(path: string): Promise<Entry[]> {
  try {
    const { tokens } = fileSchema.parse(JSON.parse(await readFile(path, "utf8")));
    return tokens.map(({ sha256, expires }) => ({ hash: Buffer.from(sha256, "hex"), expiresMs: Date.parse(expires) }));
  } catch (cause) {
    if ((cause as NodeJS.ErrnoException).code === "ENOENT") return [];
    const sentence = `cannot read the hashes of the join tokens in ${path}: ${describeError(cause)}; remove the file, and give its workers new tokens`;
    throw new RingtuneError("run_missing", sentence, { cause });
  }
}

// One repository on the Hub: which commit a revision stands for, which files it has, and their bytes. The one file that
// knows @huggingface/hub. Every failure is a sentence here; what to download and where to is decided elsewhere.

import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { describeError, RingtuneError } from "../errors.ts";
import { homeFolder } from "./cache.ts";
import type { HubReference } from "./reference.ts";

/** Hex digits: of the contents for large files, of git's object for the others. */
export interface FileDigest {
  readonly kind: "sha256" | "git-sha1";
  readonly hex: string;
}

export interface RepositoryFile {
  readonly path: string;
  readonly sizeBytes: number;
  readonly digest: FileDigest;
}

export interface Repository extends HubReference {
  readonly commit: string;
  /** At its root. */
  readonly files: readonly RepositoryFile[];
  /** Bytes of `path` from byte `from` on; `from` of the result is 0 when the server does not give parts. */
  read(path: string, from: number): Promise<{ readonly from: number; readonly bytes: AsyncIterable<Uint8Array> }>;
}

export interface HubOptions {
  /** HF_ENDPOINT, HF_TOKEN, HF_TOKEN_PATH, HF_HOME, HF_HUB_CACHE and HF_HUB_OFFLINE, as Hugging Face's libraries read them. */
  readonly env: NodeJS.ProcessEnv;
  readonly signal?: AbortSignal | undefined;
  /** Longest wait for a server that says nothing; 30 s when left out. */
  readonly patienceMs?: number;
}

/** Thrown as `download_failed`: whether a later try, or the cache, may help. */
export function isUnreachable(error: unknown): boolean {
  return error instanceof RingtuneError && error.code === "download_failed" && error.details["temporary"] === true;
}

export function endpointOf(env: NodeJS.ProcessEnv): string {
  return (env["HF_ENDPOINT"] ?? "https://huggingface.co").replace(/\/+$/, "");
}

/** Throws `download_failed` with what the Hub said, never with the token. */
export async function openRepository(reference: HubReference, options: HubOptions): Promise<Repository> {
  const hub = await import("@huggingface/hub");
  const { name, revision } = reference;
  const hubUrl = endpointOf(options.env);
  const accessToken = await readToken(options.env);
  const shared = { hubUrl, ...(accessToken === undefined ? {} : { accessToken }) };
  const failed = (error: unknown, seen: Seen): unknown =>
    options.signal?.aborted ? options.signal.reason : describe(error, seen, reference, hubUrl, accessToken);

  async function ask<T>(question: (fetch: typeof globalThis.fetch) => Promise<T>): Promise<T> {
    const watched = watch(options);
    try {
      return await question(watched.fetch);
    } catch (error) {
      throw failed(error, watched.seen);
    } finally {
      watched.end();
    }
  }
  const { commit, files } = await ask(async (fetch) => {
    const { sha } = await hub.modelInfo({ ...shared, name, revision, additionalFields: ["sha"], fetch });
    const found: RepositoryFile[] = [];
    for await (const entry of hub.listFiles({ ...shared, repo: name, revision: sha, fetch })) {
      const { type, path, size: sizeBytes, oid = "", lfs } = entry;
      const digest: FileDigest = lfs ? { kind: "sha256", hex: lfs.oid } : { kind: "git-sha1", hex: oid };
      if (type === "file") found.push({ path, sizeBytes: lfs?.size ?? sizeBytes, digest });
    }
    return { commit: sha, files: found };
  });
  return {
    ...reference,
    commit,
    files,
    async read(path, from) {
      const { digest, sizeBytes: size } = files.find((file) => file.path === path)!;
      const url = `${hubUrl}/${name}/resolve/${commit}/${path}`;
      const watched = watch(options);
      try {
        const downloadInfo = { url, size, etag: digest.hex };
        const file = await hub.downloadFile({ ...shared, repo: name, path, downloadInfo, fetch: watched.fetch });
        const stream = (from === 0 ? file! : file!.slice(from)).stream();
        const status = await watched.responded;
        return { from: status === 206 ? from : 0, bytes: patiently(stream, watched, failed) };
      } catch (error) {
        watched.end();
        throw failed(error, watched.seen);
      }
    },
  };
}

/** What the last request came to. */
interface Seen {
  status?: number;
  /** Of the Hub: "RepoNotFound", "RevisionNotFound", "GatedRepo". */
  code?: string | null;
  error?: unknown;
}

interface Watched {
  readonly fetch: typeof globalThis.fetch;
  readonly seen: Seen;
  /** The status of the first response that is not an error; rejects with the first failure. */
  readonly responded: Promise<number>;
  /** The server has said something. */
  heard(): void;
  end(): void;
}

/** A fetch that gives up on silence, and remembers what it saw: the library keeps neither status nor cause. */
function watch({ signal, patienceMs = 30_000 }: HubOptions): Watched {
  const silence = new AbortController();
  const seen: Seen = {};
  let timer: NodeJS.Timeout | undefined;
  const heard = (): void => {
    clearTimeout(timer);
    const tooLong = new Error(`it said nothing for ${patienceMs / 1000} s`);
    timer = setTimeout(() => silence.abort(tooLong), patienceMs);
  };
  let settle: { resolve(status: number): void; reject(error: unknown): void };
  const responded = new Promise<number>((resolve, reject) => (settle = { resolve, reject }));
  responded.catch(() => undefined); // the stream fails too
  return {
    seen,
    responded,
    heard,
    end: () => clearTimeout(timer),
    async fetch(input, init) {
      heard();
      try {
        const signals = signal === undefined ? [silence.signal] : [silence.signal, signal];
        const response = await globalThis.fetch(input, { ...init, signal: AbortSignal.any(signals) });
        seen.status = response.status;
        seen.code = response.headers.get("x-error-code");
        if (response.ok) settle.resolve(response.status);
        else settle.reject(new Error(`status ${response.status}`));
        return response;
      } catch (error) {
        seen.error = error;
        settle.reject(error);
        throw error;
      }
    },
  };
}

async function* patiently(
  stream: AsyncIterable<Uint8Array>,
  watched: Watched,
  failed: (error: unknown, seen: Seen) => unknown,
): AsyncGenerator<Uint8Array> {
  try {
    for await (const chunk of stream) {
      watched.heard();
      yield chunk;
    }
  } catch (error) {
    throw failed(error, watched.seen);
  } finally {
    watched.end();
  }
}

/** HF_TOKEN, else the file where `hf auth login` keeps it. */
async function readToken(env: NodeJS.ProcessEnv): Promise<string | undefined> {
  const file = env["HF_TOKEN_PATH"] ?? join(homeFolder(env), "token");
  const token = (env["HF_TOKEN"] ?? (await readFile(file, "utf8").catch(() => ""))).trim();
  if (token === "") return undefined;
  if (/^hf_[\x21-\x7e]+$/.test(token)) return token;
  const where = env["HF_TOKEN"] === undefined ? file : "HF_TOKEN";
  throw new RingtuneError(
    "config_invalid",
    `${where} holds no token of the Hub, which begin with hf_; correct or unset it`,
  );
}

function describe(
  error: unknown,
  { status = 200, code, error: failure }: Seen,
  { name, revision }: HubReference,
  hubUrl: string,
  token: string | undefined,
): RingtuneError {
  if (error instanceof RingtuneError) return error;
  const refused = (sentence: string): RingtuneError =>
    new RingtuneError("download_failed", sentence, { details: { name, status, temporary: false }, cause: error });
  if (code === "RevisionNotFound" || (status === 404 && /^invalid rev/i.test(describeError(error)))) {
    return refused(`${hubUrl} has ${name}, but no revision ${revision} of it; check model.revision`);
  }
  if (code === "GatedRepo" || status === 403) {
    const way = token === undefined ? "then set HF_TOKEN" : "with the account of the token that is set";
    return refused(`${name} is gated or private (${status}): ask for access at ${hubUrl}/${name}, ${way}`);
  }
  if (status === 401 || status === 404) {
    const who = token === undefined ? "that anyone may read" : "that the token which is set may read";
    const way = token === undefined ? "or set HF_TOKEN if it is private" : "or the token";
    return refused(`${hubUrl} has no model ${name} ${who} (${status}); check the name, ${way}`);
  }
  const why = status >= 400 ? `it answered ${status}` : reasonOf(failure ?? error);
  return new RingtuneError("download_failed", `cannot reach ${hubUrl} for ${name}: ${why}`, {
    details: { name, status, temporary: true },
    cause: error,
  });
}

/** fetch hides the reason in the causes of "fetch failed". */
function reasonOf(error: unknown): string {
  let reason = error;
  while (reason instanceof Error && reason.cause instanceof Error) reason = reason.cause;
  const { code } = reason as { code?: unknown };
  const text = describeError(reason);
  return typeof code === "string" && !text.includes(code) ? `${text} (${code})` : text;
}

// A model or tokenizer that a configuration names: a folder or file of this machine, or a repository on the Hub, which is
// then in the cache. What is there already is not downloaded again, and without network it does.

import { createHash } from "node:crypto";
import { mkdir, readFile, stat, statfs } from "node:fs/promises";
import { dirname, join } from "node:path";
import { describeError, RingtuneError } from "../errors.ts";
import { openCache, type RepositoryCache } from "./cache.ts";
import { chooseFiles, indexFile, shardsOf, type Need } from "./choose-files.ts";
import { downloadFile } from "./download.ts";
import { parseReference, type HubReference } from "./reference.ts";
import { isUnreachable, openRepository, type HubOptions, type Repository, type RepositoryFile } from "./repository.ts";

export interface ObtainOptions extends HubOptions {
  readonly need: Need;
  /** Of the name's own; "main" when neither says. */
  readonly revision?: string | undefined;
  /** Take the copy in the cache, if it is whole, without asking whether there is a newer one. */
  readonly preferCached?: boolean;
  readonly onNotice: (line: string) => void;
  readonly onProgress?: ((progress: DownloadProgress) => void) | undefined;
  readonly pauseMs?: number;
}

export interface DownloadProgress {
  readonly phase: "download";
  readonly done: number;
  /** Bytes, of all files. */
  readonly total: number;
  /** Bytes per second since the start. */
  readonly perSecond: number;
}

export interface Obtained {
  /** A folder, or a file where the text names one. */
  readonly path: string;
  /** What it is on the Hub, if it is from there. */
  readonly hub?: { readonly name: string; readonly commit: string };
}

/**
 * Where `text` is on this machine; what is neither there nor the name of a repository is left for the reader to complain
 * about. Throws `download_failed` in one sentence.
 */
export async function obtain(text: string, options: ObtainOptions): Promise<Obtained> {
  if ((await stat(text).catch(() => undefined)) !== undefined) return { path: text };
  const reference = parseReference(text, options.revision);
  if (reference === undefined) return { path: text };
  try {
    return await fromHub(reference, options);
  } catch (error) {
    if (!(error instanceof RingtuneError) || error.code !== "download_failed") throw error;
    const sentence = `${error.message}; there is no folder ${text} either`;
    throw new RingtuneError(error.code, sentence, { details: error.details, cause: error });
  }
}

async function fromHub(reference: HubReference, options: ObtainOptions): Promise<Obtained> {
  const { env, need, preferCached = false, onNotice } = options;
  const { name, revision } = reference;
  const cache = openCache(env, reference);
  const cached = await cache.find(revision, need);
  const kept = cached && { path: cached.directory, hub: { name, commit: cached.commit } };
  const isOffline = /^(1|true|yes|on)$/i.test(env["HF_HUB_OFFLINE"] ?? "");
  if (kept !== undefined && (isOffline || preferCached || kept.hub.commit === revision)) return kept;
  if (isOffline) {
    const sentence = `HF_HUB_OFFLINE is set and ${cache.folder} has no whole copy of ${name} at ${revision}`;
    throw new RingtuneError("download_failed", sentence, { details: { name, revision } });
  }
  let repository: Repository;
  try {
    repository = await openRepository(reference, options);
  } catch (error) {
    if (kept === undefined || !isUnreachable(error)) throw error;
    onNotice(`${describeError(error)}; going on with the copy in the cache, commit ${kept.hub.commit.slice(0, 12)}`);
    return kept;
  }
  await download(repository, cache, options);
  await cache.remember(revision, repository.commit);
  return { path: cache.snapshot(repository.commit), hub: { name, commit: repository.commit } };
}

async function download(repository: Repository, cache: RepositoryCache, options: ObtainOptions): Promise<void> {
  const { name, commit, files } = repository;
  const choice = chooseFiles(
    files.map(({ path }) => path),
    options.need,
  );
  const refuse = (why: string): RingtuneError =>
    new RingtuneError("download_failed", `the repository ${name} ${why}`, { details: { name, commit } });
  if ("refused" in choice) throw refuse(choice.refused);
  const meter = createMeter(options);
  const fetchAll = async (paths: readonly string[]): Promise<void> => {
    const wanted = paths.map((path) => {
      const file = files.find((file) => file.path === path);
      if (file === undefined) throw refuse(`lacks ${path}, which its ${indexFile} names`);
      return file;
    });
    const absent: RepositoryFile[] = [];
    for (const file of wanted) if (!(await isThere(cache, file))) absent.push(file);
    await mkdir(dirname(cache.blob("x")), { recursive: true });
    if (absent.length > 0) await meter.expect(absent, repository, cache);
    for (const file of absent) {
      const path = cache.blob(file.digest.hex);
      await downloadFile(repository, file, path, { ...options, onBytes: (bytes) => meter.at(file, bytes) });
    }
    for (const file of wanted) await cache.link(commit, file.path, file.digest.hex);
  };
  const isIndexed = choice.files.includes(indexFile);
  if (isIndexed) {
    await fetchAll([indexFile]);
    const text = await readFile(join(cache.snapshot(commit), indexFile), "utf8");
    const shards = shardsOf(parseJson(text));
    if (shards === undefined) throw refuse(`has a ${indexFile} that names no shards`);
    await fetchAll([...choice.files.filter((file) => file !== indexFile), ...shards]);
  } else await fetchAll(choice.files);
  meter.end(name);
}

/** By size and, where it is quick, by digest: a blob takes its place only when it is whole. */
async function isThere(cache: RepositoryCache, { digest, sizeBytes }: RepositoryFile): Promise<boolean> {
  const path = cache.blob(digest.hex);
  const size = (await stat(path).catch(() => undefined))?.size;
  if (size !== sizeBytes) return false;
  if (digest.kind === "sha256") return true;
  const contents = await readFile(path);
  return createHash("sha1").update(`blob ${sizeBytes}\0`).update(contents).digest("hex") === digest.hex;
}

function parseJson(text: string): unknown {
  try {
    return JSON.parse(text) as unknown;
  } catch {
    return undefined;
  }
}

/** Counts the bytes of all files, and says when it begins and ends. */
function createMeter({ onNotice, onProgress }: ObtainOptions) {
  const started = performance.now();
  const bytesOf = new Map<RepositoryFile, number>();
  let [total, kept, lastMs] = [0, 0, 0];
  const sum = (): number => [...bytesOf.values()].reduce((all, bytes) => all + bytes, 0);
  const seconds = (): number => (performance.now() - started) / 1000;
  return {
    /** Throws `disk_failed` when the disk has no room for `files`. */
    async expect(files: readonly RepositoryFile[], { name, commit }: Repository, cache: RepositoryCache) {
      const more = files.reduce((all, { sizeBytes }) => all + sizeBytes, 0);
      total += more;
      const room = await statfs(cache.folder).then(({ bavail, bsize }) => bavail * bsize);
      if (room < more) {
        const sentence = `${name} needs ${describeBytes(more)} and the disk of ${cache.folder} has ${describeBytes(room)} left; free some, or set HF_HUB_CACHE to a folder elsewhere`;
        throw new RingtuneError("disk_failed", sentence, { details: { needed: more, found: room } });
      }
      const count = `${files.length} file${files.length === 1 ? "" : "s"}`;
      const from = `${name} (commit ${commit.slice(0, 12)})`;
      onNotice(`downloading ${count} of ${from}, ${describeBytes(more)}, to ${cache.folder}`);
    },
    at(file: RepositoryFile, bytes: number): void {
      if (!bytesOf.has(file)) kept += bytes;
      bytesOf.set(file, bytes);
      const nowMs = performance.now();
      if (nowMs - lastMs < 250) return;
      lastMs = nowMs;
      onProgress?.({ phase: "download", done: sum(), total, perSecond: (sum() - kept) / seconds() });
    },
    end(name: string): void {
      if (bytesOf.size === 0) return;
      const rate = describeBytes((sum() - kept) / seconds());
      const before = kept === 0 ? "" : ` (${describeBytes(kept)} were there from an earlier attempt)`;
      onNotice(`downloaded ${name} in ${seconds().toFixed(1)} s, ${rate}/s${before}`);
    },
  };
}

/** "548 MB", as disks and downloads are measured. */
function describeBytes(bytes: number): string {
  for (const [unit, size] of [
    ["GB", 1e9],
    ["MB", 1e6],
    ["kB", 1e3],
  ] as const) {
    if (bytes >= size) return `${(bytes / size).toPrecision(3)} ${unit}`;
  }
  return `${Math.round(bytes)} bytes`;
}

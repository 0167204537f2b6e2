// The cache of Hugging Face's own libraries, so that what transformers has downloaded is not downloaded again:
//
//     models--openai-community--gpt2/
//       blobs/<sha256 or git's sha1>           the contents, once each
//       snapshots/<commit>/config.json         links to them
//       refs/main                              the commit that a name stood for when it was last asked

import { mkdir, readdir, readFile, rm, stat, symlink } from "node:fs/promises";
import { homedir } from "node:os";
import { dirname, join, relative } from "node:path";
import { writeFileAtomic } from "../atomic-file.ts";
import { chooseFiles, indexFile, shardsOf, type Need } from "./choose-files.ts";
import type { HubReference } from "./reference.ts";

/** Where HF_HUB_CACHE, HF_HOME or XDG_CACHE_HOME say, else ~/.cache/huggingface/hub. */
export function cacheFolder(env: NodeJS.ProcessEnv): string {
  return env["HF_HUB_CACHE"] ?? join(homeFolder(env), "hub");
}

/** Where the token is, too. */
export function homeFolder(env: NodeJS.ProcessEnv): string {
  return env["HF_HOME"] ?? join(env["XDG_CACHE_HOME"] ?? join(homedir(), ".cache"), "huggingface");
}

export interface RepositoryCache {
  readonly folder: string;
  snapshot(commit: string): string;
  blob(digest: string): string;
  /** The folder and commit of a snapshot of `revision` that has all that is needed. */
  find(revision: string, need: Need): Promise<{ readonly directory: string; readonly commit: string } | undefined>;
  /** Makes the blob a file of the snapshot. */
  link(commit: string, file: string, digest: string): Promise<void>;
  /** Remembers what commit `revision` stands for. */
  remember(revision: string, commit: string): Promise<void>;
}

const isCommit = (revision: string): boolean => /^[0-9a-f]{40}$/.test(revision);

export function openCache(env: NodeJS.ProcessEnv, { name }: Pick<HubReference, "name">): RepositoryCache {
  const folder = join(cacheFolder(env), `models--${name.replaceAll("/", "--")}`);
  const snapshot = (commit: string): string => join(folder, "snapshots", commit);
  const blob = (digest: string): string => join(folder, "blobs", digest);
  const reference = (revision: string): string => join(folder, "refs", revision);
  return {
    folder,
    snapshot,
    blob,
    async find(revision, need) {
      const commit = isCommit(revision)
        ? revision
        : (await readFile(reference(revision), "utf8").catch(() => "")).trim();
      if (!isCommit(commit)) return undefined;
      const directory = snapshot(commit);
      return (await isWhole(directory, need)) ? { directory, commit } : undefined;
    },
    async link(commit, file, digest) {
      const path = join(snapshot(commit), file);
      await mkdir(dirname(path), { recursive: true });
      await rm(path, { force: true });
      await symlink(relative(dirname(path), blob(digest)), path);
    },
    async remember(revision, commit) {
      if (isCommit(revision)) return;
      const path = reference(revision);
      await mkdir(dirname(path), { recursive: true });
      await writeFileAtomic(path, commit);
    },
  };
}

/** Links to nothing do not count. */
async function isWhole(directory: string, need: Need): Promise<boolean> {
  const isThere = async (name: string): Promise<boolean> =>
    (await stat(join(directory, name)).catch(() => null)) !== null;
  const names: string[] = [];
  for (const name of await readdir(directory).catch(() => [])) if (await isThere(name)) names.push(name);
  const choice = chooseFiles(names, need);
  if ("refused" in choice) return false;
  if (!choice.files.includes(indexFile)) return true;
  const shards = await readFile(join(directory, indexFile), "utf8").then(
    (text) => shardsOf(JSON.parse(text)),
    () => undefined,
  );
  return shards?.every((shard) => names.includes(shard)) === true;
}

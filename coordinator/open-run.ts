// How a coordinator comes to its run: it begins one, goes on from a checkpoint, or goes on in place with what was kept of it;
// of several coordinators, whoever is elected.

import { resolve } from "node:path";
import { RingtuneError } from "../common/errors.ts";
import { isOver } from "./core/durable.ts";
import { keptRun, openKept, type Kept } from "./durable/kept-run.ts";
import type { OnClose, RunOptions } from "./run.ts";
import type { Elected } from "./stand-by.ts";
import {
  createRunDirectory,
  openRunDirectory,
  removeUnbegun,
  runPath,
  type KeptRun,
  type RunDirectory,
} from "./store/run-directory.ts";

export interface Opened {
  readonly directory: RunDirectory;
  readonly kept: Kept | undefined;
  /** It was there. */
  readonly resumed: boolean;
}

/** The run directory, and what a coordinator kept in it; the workers of `train` end with it, so that it keeps nothing. */
export async function openRun(options: RunOptions, onClose: OnClose, elected: Elected | undefined): Promise<Opened> {
  if (elected !== undefined) return openRunOfSeveral(options, onClose, elected);
  const { config, resume, launch, progress } = options;
  let kept: Kept | undefined;
  const look = async (path: string): Promise<KeptRun | undefined> => {
    if (launch) return undefined;
    kept = await openKept(path, (line) => progress.notice(line));
    return kept.facts && keptRun(kept.facts);
  };
  try {
    const directory = resume === undefined ? await createRunDirectory(config) : await openRunDirectory(resume, look);
    onClose(() => directory.discard());
    if (resume === undefined) await look(directory.path);
    return { directory, kept, resumed: resume !== undefined };
  } finally {
    // Before the directory is closed, which may remove it.
    onClose(async () => kept?.store.close());
  }
}

/** Whoever is elected goes on with the run, or begins it; `--resume` is for one that has ended. */
async function openRunOfSeveral(
  { config, resume, progress }: RunOptions,
  onClose: OnClose,
  elected: Elected,
): Promise<Opened> {
  const { medium, waited } = elected;
  const permit = (): Promise<void> => elected.permit();
  const path = resolve(resume ?? runPath(config));
  const kept = await openKept(path, (line) => progress.notice(line), medium);
  const { facts } = kept;
  if (facts === undefined) await removeUnbegun(path);
  const isOpened = facts !== undefined || resume !== undefined;
  if (facts !== undefined && isOver(facts) && resume === undefined && !waited) {
    const sentence = `the run ${path} has ended, after step ${Number(facts["committed"])}; go on with it by --resume ${path}, or choose another checkpoint.name`;
    throw new RingtuneError("run_exists", sentence);
  }
  const directory = isOpened
    ? await openRunDirectory(path, async () => facts && keptRun(facts), permit).catch((error: unknown) => {
        throw facts === undefined ? error : notShared(error, path, medium.name);
      })
    : await createRunDirectory(config, new Date(), permit);
  onClose(() => directory.discard());
  onClose(() => kept.store.close());
  return { directory, kept, resumed: isOpened };
}

function notShared(error: unknown, path: string, where: string): unknown {
  if (!(error instanceof RingtuneError) || error.code !== "run_missing") return error;
  const sentence = `${where} has the state of the run, and ${path} is not on this host; coordinators of one run share its directory: is the storage mounted? (a new run needs another checkpoint.name)`;
  return new RingtuneError("run_missing", sentence, { cause: error });
}

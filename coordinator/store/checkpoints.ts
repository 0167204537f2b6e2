// The checkpoints folder of a run: names, which one `latest` points to, what is kept, what a crash left behind.
// Worker processes write a checkpoint's contents, checkpoint-parts.ts makes one of them; here they are only looked at.

import { createHash, randomBytes } from "node:crypto";
import { lstat, readdir, readFile, readlink, rename, rm, stat } from "node:fs/promises";
import { basename, dirname, join } from "node:path";
import { z } from "zod";
import { replaceLink } from "../../common/atomic-file.ts";
import { describeError, RingtuneError } from "../../common/errors.ts";
import { diskError } from "../../common/disk-error.ts";

/** What the coordinator needs from state.json; the worker that loads the checkpoint checks the rest, digests included. */
const stateSchema = z.looseObject({
  step: z.int().min(0),
  /** Samples of the stream that those steps have consumed. */
  position: z.int().min(0),
  files: z.record(z.string(), z.looseObject({ sizeBytes: z.int().min(0), sha256: z.string().optional() })).default({}),
});

export interface Checkpoint {
  readonly path: string;
  readonly step: number;
  readonly position: number;
}

/** "step-00000100" */
export function checkpointName(step: number): string {
  return `step-${String(step).padStart(8, "0")}`;
}

/**
 * The checkpoint in `folder`, complete in every file's size.
 * Throws `checkpoint_invalid` with the file and both numbers.
 */
export async function readCheckpoint(folder: string): Promise<Checkpoint> {
  const path = join(folder, "state.json");
  const text = await readFile(path, "utf8").catch((error: NodeJS.ErrnoException) => {
    if (error.code === "ENOENT") throw damaged(`${path} is missing: the checkpoint is not complete`, error);
    throw diskError(`can't read ${path}`, error);
  });
  const state = parseCheckpointState(text, path);
  for (const [name, { sizeBytes }] of Object.entries(state.files)) {
    const file = join(folder, name);
    const found = await stat(file).catch(() => undefined);
    if (!found) throw damaged(`${file} is missing`);
    if (found.size !== sizeBytes) {
      const what = found.size < sizeBytes ? "truncated" : "corrupt";
      throw damaged(`${file} is ${what}: it has ${found.size} bytes, ${sizeBytes} were written`);
    }
  }
  return { path: folder, step: state.step, position: state.position };
}

/** The text of the state.json at `path`, which may not be there yet. Throws `checkpoint_invalid`. */
export function parseCheckpointState(text: string, path: string): z.output<typeof stateSchema> {
  let json: unknown;
  try {
    json = JSON.parse(text);
  } catch (error) {
    throw damaged(`${path} is not readable JSON`, error);
  }
  const state = stateSchema.safeParse(json).data;
  if (!state) throw damaged(`${path} lacks the step and position of a checkpoint`);
  const named = stepOf(basename(dirname(path)));
  if (named !== undefined && named !== state.step) {
    throw damaged(`${path} is of step ${state.step}, but its folder is of step ${named}`);
  }
  return state;
}

/** The checkpoint that the run's `latest` points to. Throws `checkpoint_invalid`, naming those that could take its place. */
export async function readLatest(run: string): Promise<Checkpoint> {
  const link = join(run, "latest");
  const others = await listSteps(run);
  const target = await readlink(link).catch(() => undefined);
  if (target === undefined) {
    const what =
      others.length === 0
        ? "it was stopped before the first was complete; train anew, with another name or after removing the folder"
        : `latest is missing; point it to one with: ln -sfn checkpoints/${checkpointName(others.at(-1) ?? 0)} ${link}`;
    throw new RingtuneError("checkpoint_invalid", `${run} has no checkpoint to resume from: ${what}`);
  }
  try {
    return await readCheckpoint(join(run, "checkpoints", basename(target)));
  } catch (error) {
    if (!(error instanceof RingtuneError) || error.code !== "checkpoint_invalid") throw error;
    throw new RingtuneError("checkpoint_invalid", `${error.message}; ${await wayOut(run, basename(target))}`, {
      cause: error,
    });
  }
}

/** Throws `disk_failed` with the folder and the cause when the run's checkpoints can't be looked at: a share that is away, say. */
export async function assertReachable(run: string): Promise<void> {
  const folder = join(run, "checkpoints");
  await readdir(folder).catch((error: NodeJS.ErrnoException) => {
    const doing = `can't reach the folder of the run's checkpoints ${folder}`;
    const then = "; nothing was changed, start again when it is there";
    if (error.code !== "ENOENT") throw diskError(doing, error, then);
    throw new RingtuneError("disk_failed", `${doing}: there is no such folder${then}`, { cause: error });
  });
}

/** What to do when the checkpoint folder `name` is damaged. */
export async function wayOut(run: string, name: string): Promise<string> {
  const other = (await listSteps(run)).map(checkpointName).findLast((candidate) => candidate !== name);
  if (other === undefined) return "there is no other checkpoint in this run";
  const step = stepOf(other);
  return `the checkpoint of step ${step} is there too, resume from it after: ln -sfn checkpoints/${other} ${join(run, "latest")}`;
}

/**
 * The text of a small file of a checkpoint, as it was written.
 * Throws `checkpoint_invalid` when it is not what state.json says, which lists size and digest of every file.
 */
export async function readCheckpointFile(folder: string, name: string): Promise<string> {
  const path = join(folder, name);
  try {
    const state = stateSchema.parse(JSON.parse(await readFile(join(folder, "state.json"), "utf8")));
    const bytes = await readFile(path);
    const expected = state.files[name]?.sha256;
    const found = createHash("sha256").update(bytes).digest("hex");
    if (expected !== undefined && expected !== found) {
      throw damaged(`${path} is corrupt: its SHA-256 is ${found}, ${expected} was written`);
    }
    return bytes.toString("utf8");
  } catch (error) {
    if (error instanceof RingtuneError) throw error;
    throw damaged(`cannot read ${path}: ${describeError(error)}`, error);
  }
}

/**
 * Points `latest` to the checkpoint of `step`, which must be complete, and `best` to that of step `best`, if there is one;
 * then removes all but the best and the `keep` newest up to `step`.
 */
export async function publishCheckpoint(
  run: string,
  step: number,
  keep: number,
  best: number | null = null,
): Promise<Checkpoint> {
  const checkpoint = await readCheckpoint(join(run, "checkpoints", checkpointName(step)));
  await replaceLink(join(run, "latest"), `checkpoints/${checkpointName(step)}`);
  const steps = await listSteps(run);
  if (best !== null && steps.includes(best))
    await replaceLink(join(run, "best"), `checkpoints/${checkpointName(best)}`);
  else await rm(join(run, "best"), { force: true });
  const older = steps.filter((other) => other < step);
  const surplus = older.slice(0, Math.max(0, older.length - (keep - 1)));
  for (const other of surplus.filter((other) => other !== best))
    await removeAside(join(run, "checkpoints", checkpointName(other)));
  return checkpoint;
}

/** Something in a run that is to go: the inode tells it from a new one that takes its name. */
export interface Leftover {
  readonly path: string;
  readonly inode: number;
}

/**
 * What a crash left behind: temporary files, checkpoints that are not complete and, as the run goes on from `step`,
 * those of later steps. Only looks.
 */
export async function findLeftovers(run: string, step: number): Promise<Leftover[]> {
  const paths: string[] = [];
  for (const folder of [run, join(run, "checkpoints")]) {
    for (const name of await readdir(folder)) {
      if (/^\..*\.tmp$/.test(name)) paths.push(join(folder, name));
    }
  }
  for (const other of await listSteps(run)) {
    const whole =
      other <= step &&
      (await readCheckpoint(join(run, "checkpoints", checkpointName(other))).then(
        () => true,
        () => false,
      ));
    if (!whole) paths.push(join(run, "checkpoints", checkpointName(other)));
  }
  return Promise.all(paths.map(async (path) => ({ path, inode: (await lstat(path)).ino })));
}

/** Removes those that are still what they were when they were found. */
export async function removeLeftovers(leftovers: readonly Leftover[]): Promise<void> {
  for (const { path, inode } of leftovers) {
    const now = await lstat(path).catch(() => undefined);
    if (now?.ino === inode) await removeAside(path);
  }
}

/** Steps that have a folder, ascending; whether they are complete is not looked at. */
export async function listSteps(run: string): Promise<number[]> {
  const names = await readdir(join(run, "checkpoints")).catch(() => []);
  return names.flatMap((name) => stepOf(name) ?? []).sort((a, b) => a - b);
}

/** Out of sight first, so that a crash half way leaves a temporary folder and not half a checkpoint. */
export async function removeAside(path: string): Promise<void> {
  const aside = join(dirname(path), `.${basename(path)}.${randomBytes(4).toString("hex")}.old.tmp`);
  try {
    await rename(path, aside);
    await rm(aside, { recursive: true, force: true });
  } catch (error) {
    throw diskError(`can't remove ${path}`, error);
  }
}

function stepOf(name: string): number | undefined {
  const digits = /^step-(\d{8,})$/.exec(name)?.[1];
  return digits === undefined ? undefined : Number(digits);
}

function damaged(message: string, cause?: unknown): RingtuneError {
  return new RingtuneError("checkpoint_invalid", message, { cause });
}

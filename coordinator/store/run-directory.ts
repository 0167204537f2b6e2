// A run on disk, written by one process at a time:
//
//     runs/20260314-150926-5f3a/
//       ringtune.yaml            the configuration, every default filled in
//       tokenizer.json, tokenizer_config.json
//       metrics.jsonl, curve.svg
//       checkpoints/step-00000100/   written by workers: model.safetensors, config.json, ..., and state.json last
//       latest -> checkpoints/step-00000100
//       best -> checkpoints/step-00000080    of a run with early stopping
//
// `latest` moves only to a complete checkpoint, so a crash at any moment leaves a run that resumes from it.

import { randomBytes } from "node:crypto";
import { lstat, mkdir, rm, stat } from "node:fs/promises";
import { basename, join, resolve } from "node:path";
import { syncFolder, writeFileAtomic } from "../../common/atomic-file.ts";
import { formatConfig, loadConfig } from "../../common/config/load.ts";
import type { Config } from "../../common/config/schema.ts";
import { assert, RingtuneError } from "../../common/errors.ts";
import type { RunRecord } from "../../common/records.ts";
import { joinParts, partsPath, removeParts, type CheckpointParts } from "./checkpoint-parts.ts";
import {
  assertReachable,
  checkpointName,
  findLeftovers,
  publishCheckpoint,
  readCheckpoint,
  readLatest,
  removeLeftovers,
  type Checkpoint,
  type Leftover,
} from "./checkpoints.ts";
import { diskError } from "../../common/disk-error.ts";
import { acquireLock, assertNotHeld, seizeLock, type Lock } from "./lock.ts";
import { completeRecordLog, openRecordLog, readRecordLog, truncateRecordLog, type RecordLog } from "./record-log.ts";

export type { Checkpoint } from "./checkpoints.ts";

export interface RunDirectory {
  /** Absolute. */
  readonly path: string;
  readonly name: string;
  /** As in ringtune.yaml. */
  readonly config: Config;
  /** The newest one when the run was opened, or rewound; undefined when there was none. */
  readonly checkpoint: Checkpoint | undefined;
  /** This process has added a record or a checkpoint; until then an opened run is as it was. */
  readonly changed: boolean;
  /** Absolute path of the checkpoint of `step`. */
  checkpointPath(step: number): string;
  /** Absolute path of the folder that the workers write a try of it to; its parent exists. */
  partsPath(step: number, attempt: number): string;
  /** Makes a checkpoint of what they have written. */
  join(step: number, attempt: number, parts: CheckpointParts): Promise<void>;
  /** Removes what they have written. */
  discardParts(step: number, attempt: number): Promise<void>;
  /** Syncs the records, moves `latest` to the checkpoint of `step`, and `best` to that of step `best`, removes old ones. */
  publish(step: number, best?: number | null): Promise<Checkpoint>;
  append(record: RunRecord): Promise<void>;
  /** Resolves when all records so far have survived a power cut. */
  syncRecords(): Promise<void>;
  /** The run goes on from its newest checkpoint, or its beginning: what came after it goes with the next record. */
  rewind(): Promise<void>;
  readRecords(): Promise<RunRecord[]>;
  writeTokenizer(tokenizerJson: string, tokenizerConfigJson?: string): Promise<void>;
  writeCurve(svg: string): Promise<void>;
  /** Calls back whenever records of metrics.jsonl wait for a disk that does not take them, and with 0 when none do any more. */
  whenWaiting(call: (records: number, why: string) => void): void;
  /** A run that goes on with other settings takes them over with its first record; see assertResumable. */
  goOnWith(config: Config): void;
  /** Path of a file in the run, for messages: "metrics.jsonl". */
  file(name: string): string;
  /** Writes what is waiting and lets the lock go. */
  close(): Promise<void>;
  /** Closes a run that never got anywhere and removes it; one with records or a checkpoint is only closed. */
  discard(): Promise<void>;
}

/**
 * Resolves while this process may write the run, however many there are. Who has one takes the lock from its holder, whose
 * own permit is void.
 */
export type Permit = () => Promise<void>;

/**
 * Creates a run in `config.checkpoint.dir`. Never touches what is there: throws `run_exists` when the name is taken,
 * `disk_failed` when the folder can't be made.
 */
export async function createRunDirectory(
  config: Config,
  now: Date = new Date(),
  permit?: Permit,
): Promise<RunDirectory> {
  const parent = resolve(config.checkpoint.dir);
  await mkdir(parent, { recursive: true }).catch((error: unknown) => {
    throw diskError(`can't make the folder ${parent} for the run`, error);
  });
  const path = await makeFolder(parent, config.checkpoint.name, now);
  try {
    const lock = await acquireLock(join(path, "run.lock"), path);
    await mkdir(join(path, "checkpoints"));
    await writeFileAtomic(join(path, "ringtune.yaml"), formatConfig(config));
    await syncFolder(parent);
    return open(path, config, undefined, lock, permit);
  } catch (error) {
    await rm(path, { recursive: true, force: true }).catch(() => undefined);
    throw diskError(`can't write the run ${path}`, error);
  }
}

/** What a coordinator kept of a run, beside what is in the directory. */
export interface KeptRun {
  /** The run goes on from where it is, not from its newest checkpoint: records and checkpoints stay as they are. */
  readonly inPlace: boolean;
  /** The last records, of which some may not have reached the file. */
  readonly records: readonly RunRecord[];
  /** The checkpoint that is to be the latest. */
  readonly published: { readonly step: number; readonly best: number | null };
}

/**
 * Opens a run to go on with it from `latest`. The first record that is added, or checkpoint that is published, removes
 * the records of later steps and what a crash left behind; a start that fails before leaves the run as it was. `look` is
 * called once the run is locked, and says what a coordinator kept of it.
 * Throws `run_missing`, `checkpoint_invalid` or, when a process is writing it, `run_exists`.
 */
export async function openRunDirectory(
  given: string,
  look: (path: string) => Promise<KeptRun | undefined> = async () => undefined,
  permit?: Permit,
): Promise<RunDirectory> {
  const path = resolve(given);
  await assertRun(path, given);
  const lockPath = join(path, "run.lock");
  const lock = await (permit === undefined ? acquireLock(lockPath, path) : seizeLock(lockPath));
  try {
    const config = await readRunConfig(path);
    await assertReachable(path);
    const kept = await look(path);
    if (kept !== undefined) await settle(path, kept, config, permit !== undefined);
    const checkpoint = kept?.inPlace ? await readNewest(path) : await readLatest(path);
    if (!kept?.inPlace) await readRecordLog(join(path, "metrics.jsonl")); // says what is wrong with it, if anything
    const leftovers = await findLeftovers(path, checkpoint?.step ?? 0);
    const ofLock = leftovers.filter((leftover) => basename(leftover.path).startsWith(".run.lock."));
    await removeLeftovers(ofLock);
    return open(path, config, { checkpoint, leftovers, inPlace: kept?.inPlace ?? false }, lock, permit);
  } catch (error) {
    await lock.release();
    throw diskError(`can't open the run ${path}`, error);
  }
}

/** Where a run with a name is. */
export function runPath({ checkpoint: { dir, name } }: Config): string {
  assert(name !== undefined, "the run has a name");
  return join(resolve(dir), name);
}

/** Removes the folder of a run whose coordinator died before there was a record or a checkpoint; leaves any other as it is. */
export async function removeUnbegun(path: string): Promise<void> {
  const records = await readRecordLog(join(path, "metrics.jsonl")).catch(() => undefined);
  if (records?.length !== 0 || (await lstat(join(path, "latest")).catch(() => undefined)) !== undefined) return;
  await rm(path, { recursive: true, force: true });
}

/** The configuration that a run was created with, without opening the run. Throws `run_missing`, `checkpoint_invalid`. */
export async function readRunConfig(given: string): Promise<Config> {
  const path = resolve(given);
  await assertRun(path, given);
  try {
    return await loadConfig({ path: join(path, "ringtune.yaml") });
  } catch (error) {
    if (!(error instanceof RingtuneError)) throw error;
    throw new RingtuneError("checkpoint_invalid", `the configuration of the run was damaged: ${error.message}`, {
      cause: error,
    });
  }
}

/** Does what was decided before a crash and had not happened: the last records, and the move of `latest`. */
async function settle(
  path: string,
  { records, published }: KeptRun,
  config: Config,
  superseding: boolean,
): Promise<void> {
  await completeRecordLog(join(path, "metrics.jsonl"), records, superseding);
  const latest = await readNewest(path);
  const { step, best } = published;
  if (step <= (latest?.step ?? 0)) return;
  const isWhole = await readCheckpoint(join(path, "checkpoints", checkpointName(step))).then(
    () => true,
    () => false,
  );
  if (isWhole) await publishCheckpoint(path, step, config.checkpoint.keep, best);
}

/** Undefined when the run has none yet. */
async function readNewest(path: string): Promise<Checkpoint | undefined> {
  const link = await lstat(join(path, "latest")).catch(() => undefined);
  return link === undefined ? undefined : readLatest(path);
}

interface Earlier {
  readonly checkpoint: Checkpoint | undefined;
  readonly leftovers: readonly Leftover[];
  readonly inPlace: boolean;
}

function open(
  path: string,
  config: Config,
  opened: Earlier | undefined,
  lock: Lock,
  permit: Permit = async () => undefined,
): RunDirectory {
  const metricsPath = join(path, "metrics.jsonl");
  let earlier = opened;
  let published = earlier !== undefined;
  let current = config;
  let log: Promise<RecordLog> | undefined;
  let onWaiting: (records: number, why: string) => void = () => undefined;
  const key = randomBytes(4).toString("hex");
  const pathOf = (step: number): string => join(path, "checkpoints", checkpointName(step));

  /** From here on the run is another than it was. */
  async function begin(): Promise<RecordLog> {
    await permit();
    if (earlier !== undefined) {
      if (!earlier.inPlace) {
        // Without a checkpoint the validation before the first step is made again, too.
        await truncateRecordLog(metricsPath, earlier.checkpoint?.step ?? -1);
        await removeLeftovers(earlier.leftovers);
      }
      if (current !== config) await writeFileAtomic(join(path, "ringtune.yaml"), formatConfig(current));
    }
    return openRecordLog(metricsPath, (count, why) => onWaiting(count, why), permit);
  }
  const records = (): Promise<RecordLog> => (log ??= begin());

  let closing: Promise<void> | undefined;
  const close = (): Promise<void> =>
    (closing ??= Promise.resolve(log?.catch(() => undefined))
      .then(async (opened) => {
        await opened?.close();
        if (opened !== undefined) await removeParts(path, key);
      })
      .finally(() => lock.release()));
  return {
    path,
    name: basename(path),
    get config() {
      return current;
    },
    get checkpoint() {
      return earlier?.checkpoint;
    },
    get changed() {
      return log !== undefined;
    },
    checkpointPath: pathOf,
    partsPath: (step, attempt) => partsPath(path, step, key, attempt),
    async join(step, attempt, parts) {
      await (await records()).sync();
      await permit();
      await joinParts(pathOf(step), partsPath(path, step, key, attempt), parts).catch((error: unknown) => {
        throw diskError(`cannot write the checkpoint ${pathOf(step)}`, error);
      });
      await removeParts(path, key, attempt);
    },
    discardParts: (step, attempt) => rm(partsPath(path, step, key, attempt), { recursive: true, force: true }),
    async publish(step, best = null) {
      await (await records()).sync();
      await permit();
      const latest = await publishCheckpoint(path, step, current.checkpoint.keep, best);
      published = true;
      return latest;
    },
    append: async (record) => (await records()).append(record),
    syncRecords: async () => (await records()).sync(),
    async rewind() {
      await (await log?.catch(() => undefined))?.close();
      log = undefined;
      const checkpoint = await readNewest(path);
      earlier = { checkpoint, leftovers: await findLeftovers(path, checkpoint?.step ?? 0), inPlace: false };
    },
    async readRecords() {
      await log?.catch(() => undefined);
      const all = await readRecordLog(metricsPath);
      if (log !== undefined || earlier === undefined || earlier.inPlace) return all;
      const last = earlier.checkpoint?.step ?? -1;
      return all.filter(({ step }) => step <= last);
    },
    async writeTokenizer(tokenizerJson, tokenizerConfigJson) {
      await permit();
      await writeFileAtomic(join(path, "tokenizer.json"), tokenizerJson);
      if (tokenizerConfigJson) await writeFileAtomic(join(path, "tokenizer_config.json"), tokenizerConfigJson);
    },
    async writeCurve(svg) {
      await permit();
      await writeFileAtomic(join(path, "curve.svg"), svg);
    },
    whenWaiting(call) {
      onWaiting = call;
    },
    goOnWith(changed) {
      current = changed;
    },
    file: (name) => join(path, name),
    close,
    async discard() {
      await close();
      if (published || (await readRecordLog(metricsPath)).length > 0) return;
      await permit();
      await rm(path, { recursive: true, force: true });
    },
  };
}

async function makeFolder(parent: string, name: string | undefined, now: Date): Promise<string> {
  for (let attempt = 0; ; attempt++) {
    const path = join(parent, name ?? generatedName(now));
    try {
      await mkdir(path);
      return path;
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== "EEXIST") throw diskError(`can't make the run ${path}`, error);
      if (name !== undefined || attempt === 100) {
        // The same job, submitted twice: who goes on with it would be refused as well.
        await assertNotHeld(join(path, "run.lock"), path);
        throw new RingtuneError(
          "run_exists",
          `${path} exists already and is left as it is; go on with it by --resume ${path}, or choose another checkpoint.name`,
          { details: { path } },
        );
      }
    }
  }
}

/** "20260314-150926-5f3a", local time. */
function generatedName(now: Date): string {
  const digits = (value: number, count = 2): string => String(value).padStart(count, "0");
  const date = digits(now.getFullYear(), 4) + digits(now.getMonth() + 1) + digits(now.getDate());
  const time = digits(now.getHours()) + digits(now.getMinutes()) + digits(now.getSeconds());
  return `${date}-${time}-${randomBytes(2).toString("hex")}`;
}

async function assertRun(path: string, given: string): Promise<void> {
  const missing = (why: string): RingtuneError =>
    new RingtuneError("run_missing", `${given} ${why}; name the folder of a run, such as runs/NAME`, {
      details: { path },
    });
  const folder = await stat(path).catch((error: NodeJS.ErrnoException) => {
    if (error.code === "ENOENT") throw missing("does not exist");
    throw diskError(`can't reach the run ${given}`, error);
  });
  if (!folder.isDirectory()) throw missing("is a file, not a run");
  const config = await stat(join(path, "ringtune.yaml")).catch(() => undefined);
  if (!config) throw missing("is not a run: it has no ringtune.yaml");
}

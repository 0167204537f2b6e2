// The medium of a single coordinator: LevelDB, in the run directory. A write is a batch with fsync, so it survives a power
// cut; what a cut left of a batch that nobody was told of is dropped when it is opened. So it is with a disk that is full:
// LevelDB would write on behind the torn half of a batch and not find later what follows it, so the database is closed,
// and opened again when there is room.

import { setTimeout as delay } from "node:timers/promises";
import { ClassicLevel } from "classic-level";
import { describeError, RingtuneError } from "../../common/errors.ts";
import { inspectLog } from "./level-log.ts";
import { damaged, type Medium } from "./store.ts";

/** So long a write waits for room on the disk: a checkpoint that is removed, or a person, may make some. */
const roomWithinMs = 60_000;
const tryEveryMs = 250;

/**
 * Opens or creates the database in the folder `path`; `notice` hears of a torn write that was dropped, and of a write that
 * waits for a full disk. Throws `run_exists` when another process has it open, `checkpoint_invalid` when it is damaged,
 * `disk_failed` when it can't be written, or when a full disk stays full for `withinMs`.
 */
export async function openLevelMedium(
  path: string,
  notice: (sentence: string) => void = () => undefined,
  withinMs: number = roomWithinMs,
): Promise<Medium> {
  const log = await inspectLog(path);
  if (log?.damagedAt !== undefined) {
    throw damaged(
      path,
      `${log.file} is damaged at byte ${log.damagedAt}, and ${log.whole} writes in it are whole, the last one after that byte`,
    );
  }
  const level = new ClassicLevel(path);
  const failed = (error: unknown): RingtuneError => inWords(path, error);
  await level.open().catch((error: unknown) => {
    throw failed(error);
  });
  if (log !== undefined && log.tornBytes > 0) {
    notice(
      `${path} ended in a write that was cut off, ${log.tornBytes} bytes after ${log.whole} whole ones; it is dropped, nobody was told of it`,
    );
  }

  /** Resolves when there was room for it. */
  async function writeWithRoom(write: () => Promise<void>): Promise<void> {
    const began = performance.now();
    const seconds = (ms: number): string => `${Number((ms / 1000).toFixed(1))} s`;
    for (let said = false; ; said = true) {
      try {
        if (level.status !== "open") await level.open();
        await write();
        if (said) notice(`${path} has room again, after ${seconds(performance.now() - began)}: the run goes on`);
        return;
      } catch (error) {
        if (!isFull(error) || performance.now() - began >= withinMs) throw failed(error);
        if (!said) notice(`${path}: the disk is full; the run waits for room, ${seconds(withinMs)} at most`);
      }
      await level.close().catch(() => undefined);
      await delay(tryEveryMs);
    }
  }

  return {
    name: path,
    async readAll() {
      try {
        return new Map(await level.iterator().all());
      } catch (error) {
        throw failed(error);
      }
    },
    async write(values) {
      const operations = Array.from(values, ([key, value]) => ({ type: "put" as const, key, value }));
      await writeWithRoom(() => level.batch(operations, { sync: true }));
    },
    close: () => level.close(),
  };
}

function isFull(error: unknown): boolean {
  return /No space left on device|Disk quota exceeded/.test(describeError((error as Error).cause ?? error));
}

/** LevelDB's own sentences are C++ statuses: "IO error: /runs/a/durable/000003.log: No space left on device". */
function inWords(path: string, error: unknown): RingtuneError {
  const cause = (error as Error).cause ?? error;
  const said = describeError(cause);
  switch ((cause as { code?: string }).code) {
    case "LEVEL_LOCKED":
      return new RingtuneError("run_exists", `another process has ${path} open (${said})`, { cause });
    case "LEVEL_CORRUPTION":
      return new RingtuneError("checkpoint_invalid", `what the coordinator kept in ${path} was damaged: ${said}`, {
        cause,
      });
    default: {
      const reason = isFull(error) ? "the disk is full; make room, and go on with the run by --resume" : said;
      return new RingtuneError("disk_failed", `can't keep the state of the run in ${path}: ${reason}`, { cause });
    }
  }
}

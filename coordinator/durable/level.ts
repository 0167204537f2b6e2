// The medium of a single coordinator: LevelDB, in the run directory. A write is a batch with fsync, so it survives a power
// cut; what a cut left of a batch that nobody was told of is dropped when it is opened.

import { ClassicLevel } from "classic-level";
import { describeError, RingtuneError } from "../../common/errors.ts";
import { inspectLog } from "./level-log.ts";
import { damaged, type Medium } from "./store.ts";

/**
 * Opens or creates the database in the folder `path`; `notice` hears of a torn write that was dropped. Throws `run_exists`
 * when another process has it open, `checkpoint_invalid` when it is damaged, `disk_failed` when it can't be written.
 */
export async function openLevelMedium(
  path: string,
  notice: (sentence: string) => void = () => undefined,
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
      await level.batch(operations, { sync: true }).catch((error: unknown) => {
        throw failed(error);
      });
    },
    close: () => level.close(),
  };
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
      const reason = /No space left on device/.test(said) ? "the disk is full" : said;
      return new RingtuneError("disk_failed", `can't keep the state of the run in ${path}: ${reason}`, { cause });
    }
  }
}

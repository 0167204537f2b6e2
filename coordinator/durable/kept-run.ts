// What a coordinator finds of a run that it starts again: the facts in the run directory, and the port that the
// run's workers know. Only of `ringtune coordinator`: the workers of `ringtune train` end with it.

import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { writeFileAtomic } from "../../common/atomic-file.ts";
import { RingtuneError } from "../../common/errors.ts";
import { initialState } from "../core/coordinator.ts";
import { isOver, recover } from "../core/durable.ts";
import type { Job } from "../core/job.ts";
import type { State } from "../core/state.ts";
import type { KeptRun } from "../store/run-directory.ts";
import { openLevelMedium } from "./level.ts";
import { keptRecords } from "./recorded.ts";
import { createDurableStore, type DurableStore, type Facts, type Medium } from "./store.ts";

/** Of the run directory. */
const folder = "durable";
const portFile = "port";

export interface Kept {
  readonly store: DurableStore;
  readonly facts: Facts | undefined;
}

/**
 * In the run directory, or in the medium that is given. Throws `checkpoint_invalid`, with the way out, when what is there was
 * damaged.
 */
export async function openKept(run: string, notice: (sentence: string) => void, medium?: Medium): Promise<Kept> {
  try {
    const store = createDurableStore(medium ?? (await openLevelMedium(join(run, folder), notice)));
    const facts = await store.load().catch(async (error: unknown) => {
      await store.close();
      throw error;
    });
    return { store, facts };
  } catch (error) {
    throw medium === undefined ? withWayOut(error, run) : error;
  }
}

/** What the run directory has to know of it. */
export function keptRun(facts: Facts): KeptRun {
  const { saved, kept } = facts as unknown as State;
  return {
    inPlace: !isOver(facts),
    records: keptRecords(facts),
    published: { step: saved, best: kept?.step ?? null },
  };
}

/** Where the core begins: at the facts, if the run has not ended. */
export function firstState(job: Job, facts: Facts | undefined, run: string, nowMs: number): State {
  if (facts === undefined || isOver(facts)) return initialState(job, nowMs);
  try {
    return recover(job, facts, nowMs);
  } catch (error) {
    throw withWayOut(error, run);
  }
}

function withWayOut(error: unknown, run: string): unknown {
  if (!(error instanceof RingtuneError) || error.code !== "checkpoint_invalid") return error;
  const sentence = `${error.message}; remove ${join(run, folder)} to go on from the newest checkpoint instead`;
  return new RingtuneError("checkpoint_invalid", sentence, { cause: error });
}

/** Folder of the store, for those who remove it. */
export function storeFolder(run: string): string {
  return join(run, folder);
}

/** The port that the run's workers know; undefined when there is none. */
export async function readPort(run: string): Promise<number | undefined> {
  const text = await readFile(join(run, portFile), "utf8").catch(() => "");
  return /^\d{1,5}\n$/.test(text) ? Number(text) : undefined;
}

export function writePort(run: string, port: number): Promise<void> {
  return writeFileAtomic(join(run, portFile), `${port}\n`);
}

// Starts the worker processes of a run in their sites, starts those that crash again, and sees them off; the same for this
// host and for others. Who takes part is the core's business: it carries on with the rest meanwhile, and the new process
// joins like any newcomer.

import { setTimeout as delay } from "node:timers/promises";
import type { Secrets } from "../../common/secrets.ts";
import { whereIs, type Ending, type Site, type WorkerProcess } from "./site.ts";
import type { OutputLine } from "./worker-output.ts";
import { defaultRestartPolicy, Restarts } from "./restarts.ts";

export interface SuperviseOptions {
  /** At least one. Workers fill the slots of the first site, then those of the next. */
  readonly sites: readonly Site[];
  readonly count: number;
  /** Where the coordinator listens. */
  readonly coordinator: { readonly host: string; readonly port: number };
  readonly secrets: Secrets;
  /** More arguments for each. */
  readonly arguments: readonly string[];
  /** How often a worker that crashes is started again within ten minutes. */
  readonly restarts: number;
  /** Whether the run has begun and goes on: a worker that can't even start is not tried again. */
  readonly isTraining: () => boolean;
  /** Whether the run needs a worker `id`, which is about to be started again: without it there are fewer than wanted. */
  readonly needs: (id: string) => boolean;
  /** A worker says something that is in none of its messages. */
  readonly onLine: (id: string, line: OutputLine) => void;
  /** A sentence for the user: "starting worker w0 again in 1 s (try 1 of 5)". */
  readonly onNotice: (sentence: string) => void;
  /** A worker process has ended otherwise than by finishing: "worker w0 (pid 12) was killed by SIGKILL". */
  readonly onFailure: (sentence: string) => void;
}

export interface Supervised {
  /** Starts so many workers more. */
  add(count: number): void;
  /** How the process of worker `id` failed, if it is one of ours and ends at once. */
  lastWords(id: string): Promise<string | undefined>;
  /** Waits for the processes to end; those that do not within `graceMs` are killed. */
  close(graceMs: number): Promise<void>;
}

/** A worker by its name, and the processes that have been it. */
interface Slot {
  readonly id: string;
  readonly site: Site;
  /** Decides its device. */
  readonly index: number;
  readonly restarts: Restarts;
  process: WorkerProcess;
  hasEnded: boolean;
  /** Until its process is started again. */
  timer: NodeJS.Timeout | undefined;
}

/** A process whose stream broke is given so long to end, as it does when it crashed. */
const LAST_WORDS_MS = 300;

export function superviseWorkers(options: SuperviseOptions): Supervised {
  const { sites } = options;
  const { host, port } = options.coordinator;
  let closing = false;
  const slots: Slot[] = [];

  function begin(id: string, site: Site, index: number): WorkerProcess {
    const args = ["--coordinator", site.callAt(host, port), ...options.arguments];
    const onLine = (line: OutputLine): void => options.onLine(id, line);
    return site.start({ id, index, arguments: args, secrets: options.secrets, onLine });
  }

  function startOne(): void {
    const free = freeSite(sites, slots.filter(isAlive));
    const id = `w${slots.length}`;
    const restarts = new Restarts({ ...defaultRestartPolicy, tries: options.restarts });
    const process = begin(id, free.site, free.index);
    const slot: Slot = { id, ...free, restarts, process, hasEnded: false, timer: undefined };
    slots.push(slot);
    attend(slot);
  }

  function attend(slot: Slot): void {
    void slot.process.ended.then((ending) => {
      slot.hasEnded = true;
      if (ending.words !== undefined && !closing) failed(slot, ending);
    });
  }

  function failed(slot: Slot, ending: Ending): void {
    const { id, process, site, index } = slot;
    const sentence = `worker ${id} (${whereIs(site, process)}) ${ending.words}`;
    if (!options.isTraining()) return options.onFailure(sentence);
    const decision = slot.restarts.ended(ending, performance.now());
    if (decision.kind === "no") {
      if (options.restarts > 0) options.onNotice(`worker ${id} is not started again: ${decision.why}`);
      return options.onFailure(sentence);
    }
    const { delayMs, tries } = decision;
    // The core has no word of it: it sees a worker that leaves.
    if (ending.isLost === true) options.onNotice(sentence);
    options.onNotice(`starting worker ${id} again in ${delayMs / 1000} s (try ${tries})`);
    slot.timer = setTimeout(() => {
      slot.timer = undefined;
      // A worker that left because its host was lost is wanted still, although the run was content to go on without it.
      if (closing || !options.isTraining() || !(ending.isLost === true || options.needs(id))) return;
      slot.process = begin(id, site, index);
      slot.hasEnded = false;
      attend(slot);
    }, delayMs);
  }

  for (let started = 0; started < options.count; started++) startOne();
  return {
    add(count) {
      for (let started = 0; started < count && !closing; started++) startOne();
    },
    async lastWords(id) {
      const ended = slots.find((slot) => slot.id === id)?.process.ended;
      if (ended === undefined) return undefined;
      const patience = new AbortController();
      const { signal } = patience;
      const tooLong = (async () => {
        // In parts: of a process that was kept waiting itself, what came meanwhile is heard between two of them.
        for (let part = 0; part < 3; part++) await delay(LAST_WORDS_MS / 3, undefined, { signal, ref: false });
      })().catch(() => undefined);
      const ending = await Promise.race([ended, tooLong]).finally(() => patience.abort());
      return ending?.words;
    },
    async close(graceMs) {
      closing = true;
      slots.forEach(({ timer }) => clearTimeout(timer));
      const kill = setTimeout(() => slots.forEach(({ process }) => process.kill("SIGKILL")), graceMs);
      await Promise.all(slots.map(({ process }) => process.ended));
      clearTimeout(kill);
    },
  };
}

/** Running, or about to run again. */
function isAlive({ timer, hasEnded }: Slot): boolean {
  return timer !== undefined || !hasEnded;
}

/** The first device that nobody has: the site of one that has ended for good is free again. When all are taken, they are shared evenly. */
export function freeSite<P extends Pick<Site, "slots">>(
  sites: readonly P[],
  taken: readonly { readonly site: P; readonly index: number }[],
): { site: P; index: number } {
  for (let round = 0; ; round++) {
    for (const site of sites) {
      const indices = new Set(taken.filter((slot) => slot.site === site).map(({ index }) => index));
      for (let index = round * site.slots; index < (round + 1) * site.slots; index++) {
        if (!indices.has(index)) return { site, index };
      }
    }
  }
}

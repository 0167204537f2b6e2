// Another host as a site for workers. Its processes are those of `ringtune host` there; when the connection is lost they end,
// and the next one that is to be started connects again.

import { toText } from "../../common/secrets.ts";
import { describeError } from "../../common/errors.ts";
import { openLink, type Link, type LinkOptions } from "./link.ts";
import type { Ending, Site, WorkerOrder } from "./site.ts";

export type RemoteOptions = Omit<LinkOptions, "report" | "lost">;

export interface RemoteHost extends Omit<Site, "callAt"> {
  readonly host: string;
  readonly notices: readonly string[];
  /** The address of this host as that one sees it, if sshd says so. */
  readonly caller: string | undefined;
}

interface Remote {
  readonly onLine: WorkerOrder["onLine"];
  pid: number | undefined;
  end(ending: Ending): void;
}

/** Resolves when the host is ready for workers; throws as openLink does. */
export async function openRemoteHost(options: RemoteOptions): Promise<RemoteHost> {
  const { host } = options;
  /** Those that have not ended, by their number. */
  const running = new Map<number, Remote>();
  let count = 0;
  let isClosed = false;
  let link: Promise<Link> | undefined;

  const endAll = (words: string): void => {
    const all = [...running.values()];
    running.clear();
    all.forEach((process) => process.end({ code: null, signal: null, words, isLost: true }));
  };
  const connect = (): Promise<Link> => {
    const opening = openLink({
      ...options,
      report(report) {
        const process = running.get(report.number);
        if (process === undefined) return;
        if (report.kind === "line") return process.onLine(report);
        if (report.kind === "started") return void (process.pid = report.pid);
        running.delete(report.number);
        process.end({ code: report.code, signal: report.signal as NodeJS.Signals | null, words: report.words });
      },
      lost(why) {
        link = undefined;
        endAll(`was lost with its host: ${why}`);
      },
    });
    link = opening;
    opening.catch(() => {
      if (link === opening) link = undefined;
    });
    return opening;
  };

  const first = await connect();
  const { slots, notices, caller } = first;

  async function begin({ secrets, onLine: _, ...order }: WorkerOrder, number: number): Promise<void> {
    const there = await (link ?? connect());
    if (isClosed || !running.has(number)) return;
    there.send({ kind: "start", number, ...order, arguments: [...order.arguments], secrets: toText(secrets) });
  }

  return {
    host,
    slots,
    notices,
    caller,
    start(order) {
      const number = count++;
      let end: (ending: Ending) => void = () => undefined;
      const ended = new Promise<Ending>((resolve) => (end = resolve));
      const process: Remote = { onLine: order.onLine, pid: undefined, end };
      running.set(number, process);
      begin(order, number).catch((error: unknown) => {
        running.delete(number);
        end({ code: null, signal: null, words: `could not be started: ${describeError(error)}` });
      });
      return {
        pid: () => process.pid,
        ended,
        kill(signal) {
          if (!running.has(number)) return;
          if (link === undefined) return endAll("was killed");
          void link.then(
            (there) => there.send({ kind: "signal", number, signal }),
            () => undefined,
          );
        },
      };
    },
    async close() {
      isClosed = true;
      await (await link?.catch(() => undefined))?.close();
      endAll("was left behind");
    },
  };
}

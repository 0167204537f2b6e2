// The other end of `ringtune launch`: `ringtune host`, which ssh starts on each host. It starts, signals and reports worker
// processes as it is told and decides nothing. When its standard input ends, or nothing is heard any more, whoever started it
// is gone, and the workers leave.

import { existsSync } from "node:fs";
import { hostname } from "node:os";
import { setTimeout as delay } from "node:timers/promises";
import { packageVersion } from "../../common/package-root.ts";
import { fromText } from "../../common/secrets.ts";
import { planDevices } from "../devices.ts";
import { openHere } from "./here.ts";
import { eachLine, LAUNCH_VERSION, LEAVE_MS, orderSchema, parseLine, SILENCE_MS, writeLine } from "./orders.ts";
import type { Order, Report } from "./orders.ts";
import type { Site, WorkerProcess } from "./site.ts";
import type { OutputLine } from "./worker-output.ts";

export interface HostOptions {
  readonly input: NodeJS.ReadableStream;
  readonly output: NodeJS.WritableStream;
  readonly environment?: NodeJS.ProcessEnv;
  /** Aborting ends as the end of the input does. */
  readonly signal: AbortSignal;
}

/** Resolves when the launcher is gone and no worker is left. */
export async function serveHost({ input, output, environment = process.env, signal }: HostOptions): Promise<void> {
  const report = (line: Report): void => writeLine(output, line);
  const running = new Map<number, WorkerProcess>();
  let site: Site | undefined;
  let work = Promise.resolve();

  let silence: NodeJS.Timeout | undefined;
  const gone = new Promise<void>((resolve) => {
    const listen = (): void => {
      clearTimeout(silence);
      silence = setTimeout(resolve, SILENCE_MS);
    };
    listen();
    eachLine(input, (line) => {
      const order = parseLine(orderSchema, line);
      if (order === undefined) return;
      listen();
      work = work.then(() => obey(order));
    });
    for (const event of ["end", "error", "close"] as const) input.once(event, () => resolve());
    // Nobody reads the reports any more. Standard output says so of each of them.
    output.on("error", () => resolve());
    signal.addEventListener("abort", () => resolve(), { once: true });
    if (signal.aborted) resolve();
  });

  async function obey(order: Order): Promise<void> {
    switch (order.kind) {
      case "prepare":
        return prepare(order);
      case "start": {
        if (site === undefined) return;
        const { number, id, index, secrets } = order;
        const onLine = ({ level, message }: OutputLine): void => report({ kind: "line", number, level, message });
        const worker = site.start({ id, index, arguments: order.arguments, secrets: fromText(secrets), onLine });
        running.set(number, worker);
        const pid = worker.pid();
        if (pid !== undefined) report({ kind: "started", number, pid });
        void worker.ended.then(({ code, signal: by, words }) => {
          running.delete(number);
          report({ kind: "ended", number, code, signal: by, ...(words === undefined ? {} : { words }) });
        });
        return;
      }
      case "signal":
        return running.get(order.number)?.kill(order.signal);
      case "alive":
        return;
    }
  }

  async function prepare({ run, engine, device, ...wanted }: Extract<Order, { kind: "prepare" }>) {
    if (!existsSync(run)) {
      const why = `does not see the run directory ${run}, which workers write checkpoints into`;
      const what = "put checkpoint.dir on storage that all hosts have at the same path";
      return report({ kind: "unfit", reason: `${why}; ${what}` });
    }
    const { globalBatch, slots, shareDevices } = wanted;
    const cluster = { engine, device, workers: slots ?? ("auto" as const), share_devices: shareDevices };
    const devices = await planDevices({ cluster, train: { global_batch: globalBatch } }, true, environment);
    site = openHere(devices);
    report({ kind: "prepared", slots: devices.workers, notices: [...devices.notices] });
  }

  const caller = environment["SSH_CONNECTION"]?.split(" ")[0];
  const own = { launch: LAUNCH_VERSION, version: packageVersion, host: hostname() };
  report({ kind: "hello", ...own, ...(caller === undefined ? {} : { caller }) });
  await gone;
  clearTimeout(silence);
  await Promise.race([work, delay(LEAVE_MS, undefined, { ref: false })]);
  const workers = [...running.values()];
  workers.forEach((worker) => worker.kill("SIGTERM"));
  const kill = setTimeout(() => workers.forEach((worker) => worker.kill("SIGKILL")), LEAVE_MS);
  await Promise.all(workers.map((worker) => worker.ended));
  clearTimeout(kill);
}

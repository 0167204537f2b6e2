// The cluster as faults see it: every worker behind a connection of its own that can be cut, whoever died replaced, and
// nobody hit who is hit already. Decides nothing about when and what.

import { setTimeout as delay } from "node:timers/promises";
import { RingtuneError } from "../../common/errors.ts";
import type { RunStatus } from "../../proto/admin.ts";
import { now } from "../rpc/driver.ts";
import { describeExit, startCluster, type Cluster, type ClusterOptions, type Process } from "./cluster.ts";
import { openProxy, type Proxy } from "./proxy.ts";

export type WorkerStatus = RunStatus["workers"][number];

/** A worker that a fault may hit. */
export interface Target {
  readonly process: Process;
  readonly proxy: Proxy;
  /** As the coordinator saw it just now. */
  readonly seen: WorkerStatus;
}

export interface Stage {
  readonly cluster: Cluster;
  /** Aborts when there is nothing more to disturb: the run is over, it stands still, or the user has had enough. */
  readonly over: AbortSignal;
  /** Workers in the generation that a fault may hit, in rank order, and the generation. Who alone has the weights is spared. */
  targets(): Promise<{ readonly targets: readonly Target[]; readonly generation: number }>;
  /** From now on no other fault hits this worker, until `release`. */
  hold(worker: Process): void;
  release(worker: Process): void;
  /** This worker can't come back, and may end by itself; another takes its place. */
  expectEnd(worker: Process): void;
  /** Ends a worker for good. */
  kill(worker: Process): Promise<boolean>;
  /** One after another: a coordinator can't start while the disk of its run is broken. */
  alone<T>(act: () => Promise<T>): Promise<T>;
  /** Kills the coordinator; resolves when another has taken its place, `pauseMs` later. False when it had ended by itself. */
  replaceCoordinator(pauseMs: number): Promise<boolean>;
  /** Workers that faults have ended. */
  readonly killed: ReadonlySet<Process>;
  /** How processes ended that nobody had killed, while the run went on. */
  readonly endedAlone: readonly string[];
  /** Nothing is cut, slow or stopped any more, and nobody is replaced. */
  calmDown(): void;
  close(): Promise<void>;
}

export interface StageOptions extends ClusterOptions {
  readonly workers: number;
  readonly signal: AbortSignal;
  /** Longest time without a commit. */
  readonly patienceMs: number;
}

const WATCH_EVERY_MS = 500;

export async function openStage(options: StageOptions): Promise<Stage> {
  const cluster = await startCluster(options);
  const ended = new AbortController();
  const over = AbortSignal.any([options.signal, ended.signal]);
  const proxies = new Map<Process, Proxy>();
  const held = new Set<Process>();
  const killed = new Set<Process>();
  /** Were in a generation when it committed a step, and not lost since: they have the weights. */
  const holders = new Set<string>();
  const endedAlone: string[] = [];
  let calm = false;
  let turn: Promise<unknown> = Promise.resolve();

  let replacing = false;
  const watchCoordinator = (): void => {
    void cluster.coordinator.exited.then((exit) => {
      if (replacing) return;
      const said = cluster.printed.findLast((line) => line.startsWith("ringtune: ")) ?? "it said nothing";
      ended.abort(
        new RingtuneError("worker_lost", `the run is over: its coordinator ended with ${describeExit(exit)}: ${said}`),
      );
    });
  };
  const addWorker = async (): Promise<void> => {
    const proxy = await openProxy(cluster.address);
    const worker = cluster.startWorker(proxy.address);
    proxies.set(worker, proxy);
    const exit = await worker.exited;
    await proxy.close();
    if (calm || over.aborted) return;
    if (!killed.has(worker))
      endedAlone.push(`worker ${worker.id} (pid ${worker.pid}) ended with ${describeExit(exit)}`);
    await addWorker();
  };
  const pool = Array.from({ length: options.workers }, addWorker);
  // What can't be started ends the run, by its own sentence.
  for (const each of pool) each.catch((error: unknown) => ended.abort(error));

  let lastMs = now();
  const watch = setInterval(() => {
    const { last } = cluster.records;
    if (last === undefined) return;
    lastMs = Math.max(lastMs, last.timeMs);
    const silenceMs = now() - lastMs;
    if (silenceMs < options.patienceMs || calm) return;
    const both = `${Math.round(silenceMs / 1000)} s, limit ${options.patienceMs / 1000} s`;
    ended.abort(new RingtuneError("timed_out", `no step was committed after step ${last.step} for ${both}`));
  }, WATCH_EVERY_MS);
  watchCoordinator();
  cluster.onLine((line) => {
    for (const [, id] of line.matchAll(/(?:lost |; )worker (\S+) \(/g)) holders.delete(id!);
  });

  return {
    cluster,
    over,
    killed,
    endedAlone,
    async targets() {
      const status = await cluster.status();
      if (status === undefined) return { targets: [], generation: 0 };
      const { generation } = status;
      const free = cluster.workers.flatMap((process) => {
        const seen = status.workers.find(({ pid }) => pid === process.pid);
        const proxy = proxies.get(process);
        const isThere = seen !== undefined && seen.rank >= 0 && process.exit === undefined && !held.has(process);
        return isThere && proxy !== undefined ? [{ process, proxy, seen }] : [];
      });
      if (cluster.records.last?.generation === generation) for (const { seen } of free) holders.add(seen.id);
      const holding = free.filter(({ seen }) => holders.has(seen.id));
      const targets = free.filter((each) => holding.some((other) => other !== each));
      return { targets: targets.sort((a, b) => a.seen.rank - b.seen.rank), generation };
    },
    hold: (worker) => held.add(worker),
    release: (worker) => held.delete(worker),
    expectEnd: (worker) => void killed.add(worker),
    async kill(worker) {
      killed.add(worker);
      worker.kill("SIGKILL");
      return (await worker.exited).signal === "SIGKILL";
    },
    alone(act) {
      const mine = turn.then(act);
      turn = mine.catch(() => undefined);
      return mine;
    },
    async replaceCoordinator(pauseMs) {
      const { coordinator } = cluster;
      replacing = true;
      coordinator.kill("SIGKILL");
      const { signal } = await coordinator.exited;
      if (signal !== "SIGKILL") return false;
      await delay(pauseMs, undefined, { signal: over });
      await cluster.restartCoordinator();
      lastMs = now();
      for (const proxy of proxies.values()) proxy.retarget(cluster.address);
      replacing = false;
      watchCoordinator();
      return true;
    },
    calmDown() {
      calm = true;
      for (const proxy of proxies.values()) {
        proxy.refuse(false);
        proxy.delay(0);
        proxy.hold([]);
      }
      for (const worker of cluster.workers) worker.kill("SIGCONT");
    },
    async close() {
      calm = true;
      clearInterval(watch);
      await cluster.close();
      await Promise.all([...proxies.values()].map((proxy) => proxy.close()));
    },
  };
}

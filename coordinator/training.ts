// Training, once everything is prepared: a driver, the workers that this process starts, what people may ask; and again
// from the newest checkpoint when nobody is left that holds the weights. How it is prepared and what follows is run.ts.

import { rm } from "node:fs/promises";
import type { Config } from "../common/config/schema.ts";
import { describeError } from "../common/errors.ts";
import type { Place } from "../common/log-line.ts";
import { initialState } from "./core/coordinator.ts";
import type { Job } from "./core/job.ts";
import type { End, State } from "./core/state.ts";
import { credentialsOfWorkers, type Crew } from "./crew.ts";
import type { PreparedData } from "./data/prepare.ts";
import { storeFolder, type Kept } from "./durable/kept-run.ts";
import { describe } from "./durable/etcd/election.ts";
import { addressToCall } from "./exposure.ts";
import { superviseWorkers, type Supervised } from "./launch/supervise.ts";
import { describeOutcome, placeIn } from "./log/core-lines.ts";
import { openAdmin } from "./rpc/admin.ts";
import { createAdmission } from "./rpc/admission.ts";
import { createDriver, now, type DriverHost, type HandedOver } from "./rpc/driver.ts";
import type { Closer, OnClose, RunOptions } from "./run.ts";
import { createRunHost } from "./run-host.ts";
import type { Servers } from "./servers.ts";
import type { Sources } from "./sources.ts";
import type { Elected } from "./stand-by.ts";
import { openJoinTokens } from "./store/join-tokens.ts";
import type { RunDirectory } from "./store/run-directory.ts";
import { welcomeOf } from "./welcome.ts";

export interface Prepared {
  /** With folders in place of names of the Hub. */
  readonly config: Config;
  readonly directory: RunDirectory;
  readonly data: PreparedData;
  /** Hugging Face config.json. */
  readonly modelConfigJson: string;
  /** From what is in the run directory now. */
  readonly createJob: () => Promise<Job>;
  readonly onHub: Sources["onHub"];
  readonly servers: Servers;
  readonly crew: Crew;
  readonly kept: Kept | undefined;
  /** One of several coordinators. */
  readonly elected: Elected | undefined;
}

/** Where the core begins. */
export interface Beginning {
  readonly job: Job;
  readonly state: State;
}

/** A worker that was told to finish ends at once, unless it is in the middle of a microbatch. */
const WORKER_GRACE_MS = 10_000;

/** Resolves when the run is over, with the step of the newest checkpoint. */
export async function train(
  options: Omit<RunOptions, "config">,
  prepared: Prepared,
  first: Beginning,
  onClose: OnClose,
): Promise<{ readonly outcome: End | HandedOver; readonly checkpoint: number | undefined }> {
  const { progress, signal } = options;
  const { config, directory, data, servers, crew, kept, elected } = prepared;
  const { metrics, sessions, credentials } = servers;
  const { certs, insecure, join_token_ttl_s: ttlSeconds } = config.cluster;
  // What is there is of a run that went on another way.
  if (options.launch) await rm(storeFolder(directory.path), { recursive: true, force: true });
  const tokens = await openJoinTokens({ file: (name) => directory.file(name), ttlSeconds });
  if (options.joinToken !== undefined) tokens.accept(options.joinToken);
  const extra = [...(certs === undefined ? [] : ["--certs", certs]), ...(insecure ? ["--insecure"] : [])];
  const called = (await elected?.addresses())?.join(",") ?? addressToCall(config.cluster.host, sessions.port);
  const commandOfWorker = ["ringtune worker --coordinator", called, "--token-file", tokens.file, ...extra].join(" ");
  let launched: Supervised | undefined;
  const permit = elected && (() => elected.permit());
  const runHost = createRunHost({ config, directory, data, metrics, progress, permit });
  const { outlets, log, timeline } = runHost;
  onClose(() => log.close());
  const host: Omit<DriverHost, keyof Beginning> = {
    ...outlets,
    timeline,
    durable: kept?.store,
    ...(elected === undefined ? {} : { lost: elected.lost }),
    admission: createAdmission({ tokens, run: directory.path, encrypted: certs !== undefined && !insecure }),
    welcome: await welcomeOf({ ...prepared, jobId: directory.name }),
    launch(count) {
      if (launched !== undefined) return launched.add(count);
      progress.notice(`start ${count} worker${count === 1 ? "" : "s"} more, each on a terminal of its own:`);
      progress.notice(`  ${commandOfWorker}`);
    },
    lastWords: async (id) => launched?.lastWords(id),
  };
  let driver = createDriver({ ...host, ...first });
  const begin = async ({ job }: Beginning): Promise<Closer> => {
    servers.begin(driver);
    metrics.observePaces(() => driver.state.members.map(({ id, pace }) => [id, pace] as const));
    const standbys = async () => (await elected?.standbys()) ?? [];
    const shown = { joinCommand: commandOfWorker, standbys };
    return openAdmin({ directory, driver, job, timeline, tokens, credentials, ...shown });
  };
  const here = (): Place => placeIn(driver.state);
  log.locate(here);
  progress.locate(first.job.id, here);
  let waiting = 0;
  directory.whenWaiting((records, why) => {
    metrics.setRecordsWaiting(records);
    if (waiting === 0 && records > 0)
      progress.notice(`${why}; records wait in memory until it is possible, training goes on`);
    if (waiting > 0 && records === 0) progress.notice(`metrics.jsonl has all records again, ${waiting} had waited`);
    waiting = records;
  });
  const { workers: count } = first.job;
  // Said before those that wait on the line come in.
  const isRecovering = first.state.phase === "recovering";
  if (isRecovering) {
    const { committed, recovery } = first.state;
    const who = recovery?.order.join(", ");
    progress.notice(
      `going on after step ${committed}: waiting at ${called} for ${who} to come back, up to ${config.cluster.recover_s} s`,
    );
  }
  let closeAdmin = await begin(first);
  onClose(() => closeAdmin());
  // Workers may still look for the coordinator of a run that is not over.
  onClose(async () => {
    await elected?.permit();
    if (driver.state.over) await tokens.discard();
  });
  if (options.launch) {
    const workers = superviseWorkers({
      sites: crew.sites,
      count,
      coordinator: { host: config.cluster.host, port: sessions.port },
      secrets: { joinToken: tokens.issueOwn(), ...(await credentialsOfWorkers(certs)) },
      arguments: insecure ? ["--insecure"] : [],
      restarts: config.cluster.restarts,
      isTraining: () => driver.state.established && driver.state.phase !== "ended",
      needs: (id) => needsWorker(driver.state, id),
      onLine: (worker, { level, message }) => log.write(message, { level, worker }),
      onNotice: (sentence) => progress.notice(sentence),
      onFailure: (reason) => driver.post({ kind: "launch-failed", reason }),
    });
    launched = workers;
    onClose(() => workers.close(WORKER_GRACE_MS));
  } else if (!isRecovering) {
    progress.notice(`waiting for ${count} workers at ${called}; start each on a terminal of its own:`);
    progress.notice(`  ${commandOfWorker}`);
  }
  const stop = async (): Promise<void> => {
    const [next] = (await elected?.standbys()) ?? [];
    const reason = describeError(signal.reason);
    if (next === undefined) {
      progress.notice(`${reason}: saving what is committed; once more to leave at once`);
      driver.post({ kind: "stop", reason });
    } else {
      progress.notice(`${reason}: handing the run over to ${describe(next)}; once more to leave at once`);
      driver.handOver(`${reason}; ${describe(next)} goes on with the run`);
    }
  };
  const onAbort = (): void => void stop();
  if (signal.aborted) onAbort();
  signal.addEventListener("abort", onAbort);
  let outcome = await driver.outcome;
  while (outcome.kind === "forsaken") {
    await closeAdmin();
    await directory.rewind();
    const job = await prepared.createJob();
    const from = job.start.step === 0 ? "its beginning" : `the checkpoint of step ${job.start.step}`;
    progress.notice(`${outcome.reason}; the run goes on from ${from}, with ${count} workers that are started now:`);
    progress.notice(`  ${commandOfWorker}`);
    const again = { job, state: initialState(job, now(), outcome.generation) };
    driver = createDriver({ ...host, ...again });
    closeAdmin = await begin(again);
    outcome = await driver.outcome;
  }
  signal.removeEventListener("abort", onAbort);
  log.write(describeOutcome(outcome), { level: outcome.kind === "failed" ? "error" : "info" });
  return { outcome, checkpoint: runHost.checkpoint };
}

/** The stream of worker `id`, whose process has ended, may not have closed yet. */
function needsWorker({ phase, stopping, enough, members, joining, wanted }: State, id: string): boolean {
  const others = [...members, ...joining].filter((member) => member.id !== id);
  return phase !== "ended" && stopping === null && enough === null && others.length < wanted;
}

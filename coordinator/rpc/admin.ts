// The admin service of a run: what people may ask a coordinator that is at work, and where they find it. The file
// admin.json in the run directory has the address and the token, for its owner's eyes only; it goes when the run ends.

import { randomBytes } from "node:crypto";
import { readFile, rm } from "node:fs/promises";
import { join } from "node:path";
import { z } from "zod";
import { writeFileAtomic } from "../../common/atomic-file.ts";
import type { Credentials } from "../../common/certificates.ts";
import { describeError, RingtuneError } from "../../common/errors.ts";
import { callAdmin, serveAdmin, type AdminClient, type RunStatus, type RunTrace } from "../../proto/admin.ts";
import { limitsOf } from "../core/detection.ts";
import { totalSteps, type Job } from "../core/job.ts";
import type { State } from "../core/state.ts";
import type { JoinTokens } from "../store/join-tokens.ts";
import { chromeTrace } from "../trace/chrome-trace.ts";
import { summariseTrace } from "../trace/summary.ts";
import { overheadMs, type StepTimes, type Timeline } from "../trace/timeline.ts";
import { median } from "../../common/median.ts";
import type { RunDirectory } from "../store/run-directory.ts";
import { now, type Driver } from "./driver.ts";

/** `ca`: certificate of the authority in PEM, if the admin service speaks TLS. */
const contactSchema = z.object({ address: z.string(), token: z.string(), ca: z.string().optional() });
const contactFile = "admin.json";
/** A year. */
const LONGEST_TOKEN_S = 365 * 86_400;

/** A coordinator that waits to lead. */
type Standby = RunStatus["standbys"][number];

/** Serves until the closer it gives is called. */
export async function openAdmin(options: {
  readonly directory: RunDirectory;
  readonly driver: Driver;
  readonly job: Job;
  readonly timeline: Pick<Timeline, "last">;
  readonly tokens: Pick<JoinTokens, "issue">;
  /** Command that starts another worker. */
  readonly joinCommand: string;
  /** For TLS, if the run has certificates. */
  readonly credentials: Credentials | undefined;
  /** Other coordinators of the run. */
  readonly standbys: () => Promise<readonly Standby[]>;
}): Promise<() => Promise<void>> {
  const { directory, driver, job, timeline, tokens, joinCommand, credentials, standbys } = options;
  const path = directory.file(contactFile);
  // After a crash people still have the one that is there.
  const token = (await readContact(path).catch(() => undefined))?.token ?? randomBytes(24).toString("base64url");
  const server = await serveAdmin(
    token,
    {
      status: async () => ({
        ...statusOfRun(job, driver.state, now()),
        joinCommand,
        standbys: (await standbys()).map(({ address, host, pid }) => ({ address, host, pid })),
      }),
      scale: (workers) => driver.ask({ kind: "scale", workers }),
      measureLinks: () => driver.ask({ kind: "measure-links" }),
      drain: (id) => driver.ask({ kind: "drain", id, reason: "asked to drain" }),
      async stop() {
        await driver.ask({ kind: "stop", reason: "stopped by ringtune stop" });
        return `the run ends after step ${driver.state.committed}, with a checkpoint of it`;
      },
      trace: (steps) => traceOf(job.id, timeline.last(steps)),
      async issueToken(seconds) {
        if (!(seconds > 0 && seconds <= LONGEST_TOKEN_S)) {
          throw new RingtuneError("usage", `a join token lives from 0 to ${LONGEST_TOKEN_S} s, not ${seconds} s`);
        }
        const { token, expiresMs } = await tokens.issue(seconds);
        return { token, expires: new Date(expiresMs).toISOString() };
      },
    },
    credentials,
  );
  await writeFileAtomic(
    path,
    `${JSON.stringify({ address: server.address, token, ca: credentials?.ca.toString() })}\n`,
    { mode: 0o600 },
  );
  return async () => {
    // Another coordinator may have the run by now.
    const there = await readContact(path).catch(() => undefined);
    if (there?.address === server.address) await rm(path, { force: true });
    await server.close();
  };
}

function traceOf(run: string, steps: readonly StepTimes[]): RunTrace {
  const [first, last] = [steps[0], steps.at(-1)];
  if (first === undefined || last === undefined) {
    throw new RingtuneError("usage", `${run} has made no step since its coordinator began; ask again when it has`);
  }
  const added = median(steps.map(overheadMs)).toFixed(2);
  const sentence = `steps ${first.step} to ${last.step}: from the last vote to the commit the coordinator took ${added} ms (median)`;
  return { json: JSON.stringify(chromeTrace(run, steps)), sentence, summary: summariseTrace(steps) };
}

/** The coordinator of a run that is going on. Throws `run_missing` when nobody coordinates it. */
export async function contactRun(run: string): Promise<AdminClient> {
  const path = join(run, contactFile);
  try {
    const { address, token, ca } = await readContact(path);
    return callAdmin(address, token, ca);
  } catch (cause) {
    const why = (cause as NodeJS.ErrnoException).code === "ENOENT" ? "there is no such file" : describeError(cause);
    throw new RingtuneError(
      "run_missing",
      `no coordinator is at work on ${run}, whose address would be in ${path} (${why}); go on with the run by: ringtune train --resume ${run}`,
      { cause },
    );
  }
}

async function readContact(path: string): Promise<z.infer<typeof contactSchema>> {
  return contactSchema.parse(JSON.parse(await readFile(path, "utf8")));
}

export function statusOfRun(job: Job, state: State, nowMs: number): Omit<RunStatus, "joinCommand" | "standbys"> {
  const everybody = [...state.members, ...state.joining];
  // Who is waited for is in nobody's generation.
  const gone = (state.recovery?.awaited ?? []).map(
    ({ id, host, pid }) => `worker ${id} (host ${host}, pid ${pid}) has not come back yet`,
  );
  return {
    run: job.id,
    phase: state.phase,
    generation: state.generation,
    step: state.committed,
    totalSteps: totalSteps(job),
    saved: state.saved,
    workers: everybody.map(({ id, host, pid, status, doing, pulse, pace, clock }) => ({
      ...{ id, host, pid, status, doing },
      rank: state.generation === 0 ? -1 : state.members.findIndex((member) => member.id === id),
      silentSeconds: Math.max(0, nowMs - pulse.lastMs) / 1000,
      limitSeconds: limitsOf(pulse).deadMs / 1000,
      lagSeconds: pace.lagSeconds,
      rowsPerSecond: pace.rowsPerSecond,
      clock,
    })),
    dead: [...state.losses, ...gone],
    ledger: state.ledger.counts,
    links: state.links,
    measuresLinks: state.measure || state.phase === "forming",
  };
}

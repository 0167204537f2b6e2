// Who is connected: admits who may join (admission.ts), gives every worker its name, and tells the driver who comes, speaks and goes.
// A worker that calls again, before or after its old stream is known to be gone, takes its own place.

import { randomUUID } from "node:crypto";
import { RingtuneError } from "../../common/errors.ts";
import type { FromWorker } from "../../proto/messages.ts";
import type { WorkerSession, WorkerSessionHandlers } from "../../proto/session.ts";
import type { Brings, Event, NewWorker } from "../core/state.ts";
import type { SessionEvent } from "../metrics.ts";
import type { Admission } from "./admission.ts";

type Join = Extract<FromWorker, { kind: "join" }>["value"];

export interface SessionsHost {
  readonly jobId: string;
  readonly admission: Admission;
  post(event: Event): void;
  /** Who comes, speaks and goes, for the metrics. */
  observe(event: SessionEvent): void;
  /** A sentence for the log. */
  decided(reason: string): void;
  /** How the process of a worker ended whose stream broke, where that is known. */
  lastWords(id: string): Promise<string | undefined>;
}

export interface Sessions {
  accept(session: WorkerSession): WorkerSessionHandlers;
  of(id: string): WorkerSession | undefined;
  /** Its end is expected: the run goes on without it. */
  drained(id: string): void;
  /** Ends a session, if it is still there, with the sentence why. */
  dismiss(id: string, session: WorkerSession | undefined, error: RingtuneError): void;
  /** Takes nobody any more. */
  close(error: RingtuneError): void;
}

export function createSessions(host: SessionsHost): Sessions {
  const connected = new Map<string, { readonly session: WorkerSession; readonly worker: NewWorker }>();
  /** Told to go while the run goes on. */
  const drained = new Set<string>();
  let over: RingtuneError | undefined;

  function accept(session: WorkerSession): WorkerSessionHandlers {
    let id: string | undefined;
    const refuse = (error: RingtuneError): void => {
      if (over === undefined && !host.admission.isNoise(session.peer))
        host.decided(`refused a worker: ${error.message}`);
      host.observe({ kind: "refused" });
      session.reject(error);
    };
    const waited = host.admission.await(session.peer, refuse);
    return {
      message(message) {
        if (id !== undefined) {
          host.observe({ kind: "said", id, message });
          return host.post({ kind: "said", id, message });
        }
        waited();
        try {
          id = admit(session, message);
        } catch (error) {
          refuse(error as RingtuneError);
        }
      },
      closed(reason) {
        waited();
        if (id === undefined) return;
        const left = id;
        const isThere = (): boolean => connected.get(left)?.session === session;
        host.observe({ kind: "left", id: left, expected: over !== undefined || drained.delete(left) });
        // Dismissed, or in its own place again.
        if (!isThere()) return;
        void host.lastWords(left).then((words) => {
          if (!isThere()) return;
          connected.delete(left);
          host.post({ kind: "left", id: left, reason: words ?? reason });
        });
      },
    };
  }

  /** Checks a Join; returns the worker's id. */
  function admit(session: WorkerSession, message: FromWorker): string {
    if (message.kind !== "join") {
      throw new RingtuneError("protocol_mismatch", `the first message of a session is join, not ${message.kind}`);
    }
    if (over !== undefined) throw over;
    host.admission.check(message.value, session.peer);
    checkHolding(message.value, host.jobId);
    const { workerId, host: hostName, pid, ringEndpoint, holding } = message.value;
    const before = connected.get(workerId);
    const isOther = before !== undefined && !isSame(before.worker, message.value);
    const id = isOther || workerId === "" ? `${workerId || "w"}-${randomUUID().slice(0, 4)}` : workerId;
    const worker = { id, host: hostName, pid, ringEndpoint };
    connected.set(id, { session, worker });
    if (id === workerId) before?.session.reject(new RingtuneError("unavailable", `worker ${id} called again`));
    host.observe({ kind: "joined", id, host: hostName });
    const brings = holding === null ? undefined : bringsOf(holding);
    host.post({ kind: "joined", worker, ...(brings === undefined ? {} : { brings }) });
    return id;
  }

  return {
    accept,
    of: (id) => connected.get(id)?.session,
    drained: (id) => void drained.add(id),
    dismiss(id, session, error) {
      if (connected.get(id)?.session === session) connected.delete(id);
      session?.reject(error);
    },
    close: (error) => (over = error),
  };
}

/** What a worker has kept is of this job, or of no use. */
function checkHolding({ workerId, holding }: Join, jobId: string): void {
  if (holding === null || holding.jobId === jobId) return;
  throw new RingtuneError(
    "protocol_mismatch",
    `worker ${workerId} holds weights of the job ${JSON.stringify(holding.jobId.slice(0, 200))}, and this is ${jobId}`,
  );
}

/** The same process, as far as it says. */
function isSame(worker: NewWorker, { host, pid, ringEndpoint }: Join): boolean {
  return worker.host === host && worker.pid === pid && worker.ringEndpoint === ringEndpoint;
}

function bringsOf({ ready, generation, whole, step, reduced }: NonNullable<Join["holding"]>): Brings {
  return { ready, generation, whole, step, reduced };
}

// Workers that call a coordinator before it has a driver: it still prepares its data, or another leads. Who comes while it
// prepares is kept on the line and taken as soon as there is a driver, so that nobody has to call again at the right
// moment. While it stands by, a worker that brings weights is kept a moment, for its coordinator may just have been lost
// and this one be the next; others, and all as soon as somebody leads, hear at once where to go.

import { RingtuneError } from "../common/errors.ts";
import type { FromWorker } from "../proto/messages.ts";
import type { WorkerSession, WorkerSessionHandlers } from "../proto/session.ts";

export interface EarlyCallers {
  accept(session: WorkerSession): WorkerSessionHandlers;
  /** Another may lead, or nobody any more: callers hear this, and those that wait hear it now. */
  refer(error: RingtuneError): void;
  /** This coordinator leads, and is not ready yet. */
  prepare(): void;
  /** Hands those that wait, and whoever comes, to the driver. */
  begin(accept: (session: WorkerSession) => WorkerSessionHandlers): void;
}

const sentence = "the coordinator still prepares its data and takes no workers yet";
const preparing = new RingtuneError("unavailable", sentence);

/** Well within the time that the front door gives to join, and that a worker waits for a coordinator by default. */
const PREPARING_MS = 2000;
/** Longer than an election takes when the process of the leader is gone; where it lives, so much time is lost. */
const STANDING_BY_MS = 400;
/** As many as may wait to join, and no more of what each said than a worker has to say: they may be strangers. */
const MAX_KEPT = 1024;
const MAX_JOIN_CHARACTERS = 8192;

interface Caller {
  /** From now. */
  wait(ms: number): void;
  take(accept: (session: WorkerSession) => WorkerSessionHandlers): void;
  refuse(): void;
}

export function createEarlyCallers(): EarlyCallers {
  const kept = new Set<Caller>();
  let referral: RingtuneError | undefined;
  let ready: ((session: WorkerSession) => WorkerSessionHandlers) | undefined;

  function keep(session: WorkerSession): WorkerSessionHandlers {
    let join: FromWorker | undefined;
    let handlers: WorkerSessionHandlers | undefined;
    const leave = (): void => {
      clearTimeout(patience);
      kept.delete(caller);
    };
    const refuse = (): void => {
      leave();
      session.reject(referral ?? preparing);
    };
    let patience: NodeJS.Timeout | undefined;
    const caller: Caller = {
      refuse,
      wait(ms) {
        clearTimeout(patience);
        patience = setTimeout(refuse, ms);
      },
      take(accept) {
        leave();
        handlers = accept(session);
        if (join !== undefined) handlers.message(join);
      },
    };
    kept.add(caller);
    caller.wait(referral === undefined ? PREPARING_MS : STANDING_BY_MS);
    return {
      message(message) {
        if (handlers !== undefined) return handlers.message(message);
        // A worker says join, and waits for the answer.
        if (join !== undefined || message.kind !== "join" || kept.size > MAX_KEPT) return refuse();
        if (referral !== undefined && message.value.holding === null) return refuse();
        if (JSON.stringify(message.value).length > MAX_JOIN_CHARACTERS) return refuse();
        join = message;
      },
      closed(reason) {
        leave();
        handlers?.closed(reason);
      },
    };
  }

  return {
    accept: (session) => (ready === undefined ? keep(session) : ready(session)),
    refer(error) {
      referral = error;
      for (const caller of [...kept]) caller.refuse();
    },
    prepare() {
      referral = undefined;
      for (const caller of kept) caller.wait(PREPARING_MS);
    },
    begin(accept) {
      ready = accept;
      for (const caller of [...kept]) caller.take(accept);
    },
  };
}

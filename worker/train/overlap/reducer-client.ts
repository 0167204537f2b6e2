// The other end of a reducer's thread: what is asked is answered by a promise. One question at a time.

import { Worker } from "node:worker_threads";
import { assert, RingtuneError } from "../../../common/errors.ts";
import type { Membership } from "../../collective/collective.ts";
import type { SharedBuffer } from "../../collective/shared-memory/shared-memory.ts";
import type { CollectiveEndpointOptions } from "../../collective/zeromq.ts";
import type { FromReducer, ReduceOrder, ToReducer } from "./reducer.ts";

export type Reduced = Extract<FromReducer, { kind: "reduced" }>;

export interface ReducerClient {
  /** Of its endpoint. Rejects if it can't listen. */
  readonly address: Promise<string>;
  /** `gradients` if ranks of this host share them. */
  form(membership: Membership, gradients?: SharedBuffer): Promise<void>;
  /** Settles when nothing is under way any more. */
  reduce(order: ReduceOrder): Promise<Reduced>;
  /** See ToReducer. */
  tell(kind: "there" | "abort" | "leave"): void;
  close(): Promise<void>;
}

/** Starts the thread. */
export function startReducer(options: CollectiveEndpointOptions): ReducerClient {
  const thread = new Worker(new URL("./reducer-thread.js", import.meta.url), { workerData: options });
  thread.unref(); // a worker that has nothing else to do may go
  const ended = new Promise((resolve) => thread.once("exit", resolve));
  const { hear, ...client } = createClient((message) => thread.postMessage(message));
  thread.on("message", hear);
  const fail = (what: string): void =>
    hear({ kind: "failed", error: { code: "internal", message: `the thread that reduces gradients ${what}` } });
  thread.on("error", (cause) => fail(`failed: ${cause.message}`));
  thread.on("exit", () => fail("has ended"));
  return {
    ...client,
    async close() {
      thread.postMessage({ kind: "close" } satisfies ToReducer);
      await ended;
    },
  };
}

/** `hear` takes the answers. */
export function createClient(
  post: (message: ToReducer) => void,
): Omit<ReducerClient, "close"> & { readonly hear: (message: FromReducer) => void } {
  let settle: ((answer: FromReducer) => void) | undefined;
  /** What came when nothing was asked: the reducer is gone, and whoever asks next is told. */
  let gone: FromReducer | undefined;
  const answered = async <K extends FromReducer["kind"]>(kind: K): Promise<Extract<FromReducer, { kind: K }>> => {
    assert(settle === undefined, "the reducer has been asked something else");
    const answer = gone ?? (await new Promise<FromReducer>((resolve) => (settle = resolve)));
    if (answer.kind === "failed") throw new RingtuneError(answer.error.code, answer.error.message);
    assert(answer.kind === kind, `the reducer answered ${answer.kind}, not ${kind}`);
    return answer as Extract<FromReducer, { kind: K }>;
  };
  const address = answered("opened").then((opened) => opened.address);
  address.catch(() => undefined); // Whoever asks for it is told.
  return {
    address,
    async form(membership, gradients) {
      const formed = answered("formed");
      post({ kind: "form", membership, gradients });
      await formed;
    },
    async reduce(order) {
      const reduced = answered("reduced");
      post({ kind: "reduce", order });
      return reduced;
    },
    tell: (kind) => post({ kind }),
    hear(message) {
      const told = settle;
      settle = undefined;
      if (told === undefined) gone = message;
      else told(message);
    },
  };
}

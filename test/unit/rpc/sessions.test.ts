import { expect, test } from "vitest";
import type { RingtuneError } from "../../../common/errors.ts";
import type { FromWorker } from "../../../proto/messages.ts";
import type { Event } from "../../../coordinator/core/state.ts";
import { createSessions } from "../../../coordinator/rpc/sessions.ts";

type Join = Extract<FromWorker, { kind: "join" }>["value"];

const settled = (): Promise<void> => new Promise((resolve) => setImmediate(resolve));

function createDoor() {
  const events: Event[] = [];
  const sessions = createSessions({
    jobId: "a",
    admission: { await: () => () => undefined, check: () => undefined, isNoise: () => false },
    post: (event) => events.push(event),
    observe: () => undefined,
    decided: () => undefined,
    lastWords: () => Promise.resolve(undefined),
  });
  const call = (change: Partial<Join> = {}) => {
    const rejected: RingtuneError[] = [];
    const session = {
      ...{ peer: "10.0.0.5:1", arrivedMs: 0, send: () => undefined, end: () => undefined },
      reject(error: RingtuneError) {
        rejected.push(error);
        handlers.closed(error.message);
      },
    };
    const handlers = sessions.accept(session);
    const who = { protocolVersion: 0, workerId: "w0", joinToken: "", host: "h", pid: 7 };
    handlers.message({ kind: "join", value: { ...who, ringEndpoint: "tcp://h:1", holding: null, ...change } });
    return { rejected, session, leave: () => handlers.closed("its connection closed") };
  };
  return { events, sessions, call };
}

const holding = { jobId: "a", ready: true, generation: 3, whole: true, step: 12, reduced: null };

test("a worker that holds weights of another job is refused with both names; one of this job brings what it holds", () => {
  const { events, call } = createDoor();
  const [error] = call({ holding: { ...holding, jobId: "b" } }).rejected;
  expect(error).toMatchObject({
    code: "protocol_mismatch",
    message: 'worker w0 holds weights of the job "b", and this is a',
  });
  expect(events).toEqual([]);
  call({ holding });
  const { jobId, ...brings } = holding;
  expect(jobId).toBe("a");
  expect(events).toMatchObject([{ kind: "joined", worker: { id: "w0" }, brings }]);
});

test("the same process takes its own place, and news of its old connection does not count against it", async () => {
  const { events, sessions, call } = createDoor();
  const first = call();
  const second = call({ holding });
  expect(first.rejected).toMatchObject([{ code: "unavailable", message: "worker w0 called again" }]);
  await settled();
  expect(events.map(({ kind }) => kind)).toEqual(["joined", "joined"]);
  expect(sessions.of("w0")).toBe(second.session);
  // A connection that is known to be gone, and whose last words are awaited, when the worker calls again.
  second.leave();
  call({ holding });
  await settled();
  expect(events.map(({ kind }) => kind)).toEqual(["joined", "joined", "joined"]);
});

test("another process of the same name gets a name of its own", () => {
  const { events, call } = createDoor();
  call();
  call({ pid: 8, ringEndpoint: "tcp://h:2" });
  expect(events).toMatchObject([
    { worker: { id: "w0" } },
    { worker: { id: expect.stringMatching(/^w0-[0-9a-f]{4}$/) as string } },
  ]);
});

import { expect, test, vi } from "vitest";
import { RingtuneError } from "../../common/errors.ts";
import { createEarlyCallers } from "../../coordinator/early-callers.ts";
import type { FromWorker } from "../../proto/messages.ts";
import type { WorkerSession } from "../../proto/session.ts";

type Join = Extract<FromWorker, { kind: "join" }>["value"];

const elsewhere = new RingtuneError("unavailable", "the coordinator at b:1 leads the run");
const holding = { jobId: "a", ready: true, generation: 3, whole: true, step: 12, reduced: null };

function createLine() {
  const early = createEarlyCallers();
  const taken: string[] = [];
  const begin = (): void =>
    early.begin(({ peer }) => ({
      message: (message) => void taken.push(`${peer} ${message.kind}`),
      closed: (reason) => void taken.push(`${peer} ${reason}`),
    }));
  const call = (peer: string, change: Partial<Join> = {}) => {
    const rejected: string[] = [];
    const session: WorkerSession = {
      ...{ peer, arrivedMs: 0, send: () => undefined, end: () => undefined },
      reject(error) {
        rejected.push(error.message);
        handlers.closed(error.message);
      },
    };
    const handlers = early.accept(session);
    const who = { protocolVersion: 0, workerId: "w0", joinToken: "", host: "h", pid: 7 };
    handlers.message({ kind: "join", value: { ...who, ringEndpoint: "tcp://h:1", holding: null, ...change } });
    return { rejected, handlers };
  };
  return { early, begin, call, taken };
}

test("who calls while the coordinator prepares is taken as soon as there is a driver, in order, and no one who has gone", () => {
  const { begin, call, taken } = createLine();
  call("a");
  call("b").handlers.closed("its connection closed");
  const c = call("c");
  expect(taken).toEqual([]);
  begin();
  c.handlers.closed("it ended its session");
  call("d");
  expect(taken).toEqual(["a join", "c join", "c it ended its session", "d join"]);
  expect(c.rejected).toEqual([]);
});

test("nobody is kept on the line for longer than two seconds", () => {
  vi.useFakeTimers();
  try {
    const { begin, call, taken } = createLine();
    const { rejected } = call("a");
    vi.advanceTimersByTime(1999);
    expect(rejected).toEqual([]);
    vi.advanceTimersByTime(1);
    expect(rejected).toEqual(["the coordinator still prepares its data and takes no workers yet"]);
    begin();
    expect(taken).toEqual([]);
  } finally {
    vi.useRealTimers();
  }
});

test("a coordinator that stands by sends newcomers on at once, and those that bring weights when somebody leads", () => {
  const { early, begin, call, taken } = createLine();
  early.refer(elsewhere);
  expect(call("a").rejected).toEqual([elsewhere.message]);
  const back = call("b", { holding });
  expect(back.rejected).toEqual([]);
  const other = new RingtuneError("unavailable", "the coordinator at c:1 leads the run");
  early.refer(other);
  expect(back.rejected).toEqual([other.message]);
  const again = call("b", { holding });
  early.prepare();
  begin();
  expect(again.rejected).toEqual([]);
  expect(taken).toEqual(["b join"]);
});

test("while another leads, a worker that brings weights is sent on after 0.4 s", () => {
  vi.useFakeTimers();
  try {
    const { early, call } = createLine();
    early.refer(elsewhere);
    const { rejected } = call("b", { holding });
    vi.advanceTimersByTime(400);
    expect(rejected).toEqual([elsewhere.message]);
  } finally {
    vi.useRealTimers();
  }
});

test("a stranger that says more than a join, or anything else, is not kept", () => {
  const { call } = createLine();
  expect(call("a", { ringEndpoint: "x".repeat(10_000) }).rejected).toHaveLength(1);
  const { handlers, rejected } = call("b");
  handlers.message({ kind: "prepared", value: { gpuUuid: "" } });
  expect(rejected).toHaveLength(1);
});

// What a worker prints, and what whoever started it makes of that.

import { PassThrough } from "node:stream";
import { expect, test } from "vitest";
import { readOutput, type OutputLine } from "../../../coordinator/launch/worker-output.ts";
import { createWorkerLog } from "../../../worker/worker-log.ts";

const nowMs = (): number => Date.UTC(2026, 0, 2, 3, 4, 5);

function logOf(form: "text" | "json") {
  let text = "";
  const log = createWorkerLog({ worker: "w1", form, nowMs, stream: { write: (more) => (text += more) } });
  return { log, lines: () => text.trimEnd().split("\n") };
}

const formed = {
  kind: "formed",
  value: {
    ...{ generation: 3, step: 40, engine: "onnx cpu, 1 thread", engineWhy: [], gpuUuid: "", parameters: 10 },
    ...{ digest: "d", notices: [], links: [] },
  },
} as const;

test("every line says in which run, generation and step it was, and by whom", () => {
  const { log, lines } = logOf("json");
  log.write("health checks at http://127.0.0.1:1/healthz");
  log.locate({ job: "run", worker: "w7" });
  log.locate({ generation: 3, rank: 2 });
  log.sent(formed);
  log.sent({ kind: "applied", value: { generation: 3, step: 41, seconds: 0, digest: "", notices: [] } });
  log.write("the coordinator is gone", { level: "warn" });
  const time = "2026-01-02T03:04:05.000Z";
  expect(lines().map((line) => JSON.parse(line) as unknown)).toEqual([
    {
      ...{ time, level: "info", job: "", generation: 0, step: 0, worker: "w1" },
      message: "health checks at http://127.0.0.1:1/healthz",
    },
    {
      ...{ time, level: "info", job: "run", generation: 3, step: 40, worker: "w7", rank: 2, told: true },
      message: "takes part in generation 3 with the weights of step 40, on onnx cpu, 1 thread",
    },
    {
      ...{ time, level: "warn", job: "run", generation: 3, step: 41, worker: "w7", rank: 2 },
      message: "the coordinator is gone",
    },
  ]);
});

test("people read text, and messages of every step are no lines", () => {
  const { log, lines } = logOf("text");
  log.locate({ job: "run", generation: 3, rank: 2 });
  log.sent({ kind: "heartbeat", value: { doing: "computing", inCollective: false, count: 0 } });
  log.sent(formed);
  expect(lines()).toEqual([
    "03:04:05  generation 3, step 40  w1 (rank 2)  takes part in generation 3 with the weights of step 40, on onnx cpu, 1 thread",
  ]);
});

async function readAll(stdout: readonly string[], stderr: readonly string[], atMs = () => 0) {
  const heard: OutputLine[] = [];
  const streams = { stdout: new PassThrough(), stderr: new PassThrough() };
  const output = readOutput(streams.stdout, streams.stderr, (line) => heard.push(line), atMs);
  for (const [stream, lines] of [
    [streams.stdout, stdout],
    [streams.stderr, stderr],
  ] as const) {
    const ended = new Promise((resolve) => stream.once("end", resolve));
    for (const line of lines) stream.write(`${line}\n`);
    stream.end();
    await ended;
  }
  return { heard, lastWords: output.lastWords() };
}

test("of a worker that was started here those lines are kept that the coordinator has not heard", async () => {
  const { log, lines } = logOf("json");
  log.sent(formed);
  log.write("found the coordinator again after 1.0 s");
  const { heard, lastWords } = await readAll(
    [...lines(), "a library's own words"],
    ["libfoo: no such thing", "ringtune worker: no device", "    at somewhere"],
  );
  expect(heard).toEqual([
    { level: "info", message: "found the coordinator again after 1.0 s" },
    { level: "info", message: "a library's own words" },
    { level: "warn", message: "libfoo: no such thing" },
    { level: "warn", message: "    at somewhere" },
  ]);
  expect(lastWords).toBe("no device");
});

test("a worker that floods its output does not flood the log", async () => {
  const many = Array.from({ length: 500 }, (_, index) => `noise ${index}`);
  let calls = 0;
  const { heard, lastWords } = await readAll([], [...many, "after a while"], () => (calls++ < 501 ? 0 : 60_000));
  expect(heard.map(({ message }) => message)).toEqual([
    ...many.slice(0, 50),
    "said 450 lines more, which are left out",
    "after a while",
  ]);
  expect(lastWords).toBe("after a while");
});

import { once } from "node:events";
import { readFile, writeFile } from "node:fs/promises";
import { connect, createServer, type AddressInfo, type Socket } from "node:net";
import { join } from "node:path";
import { describe, expect, onTestFinished, test } from "vitest";
import type { RingtuneError } from "../../common/errors.ts";
import type { FromCoordinator, FromWorker } from "../../proto/messages.ts";
import { openSession, serveSessions, type CoordinatorSession, type WorkerSession } from "../../proto/session.ts";
import { PROTOCOL_VERSION } from "../../proto/version.ts";
import { linesOf, readSteps, smallRun, start, temporaryFolder, type Running, type SmallRun } from "../support/cli.ts";
import { refusal, sentenceOf } from "../support/refusal.ts";

type Send = Parameters<CoordinatorSession["send"]>[0];

interface Coordinator extends SmallRun {
  readonly running: Running;
  readonly address: string;
  readonly port: number;
  readonly tokenFile: string;
  readonly token: string;
}

/** `ringtune coordinator` for so many workers, ready for them. */
async function coordinate(workers: number, ...args: string[]): Promise<Coordinator> {
  const small = await smallRun({ steps: 5, warmup_steps: 1 });
  const running = start([
    ...["coordinator", small.config, "--set", `cluster.workers=${workers}`, "--set", "checkpoint.name=run"],
    ...args,
  ]);
  const [, address, tokenFile] = await running.waitFor(/ringtune worker --coordinator (\S+) --token-file (\S+)/);
  const token = (await readFile(tokenFile!, "utf8")).trim();
  return {
    ...small,
    running,
    address: address!,
    port: Number(address!.split(":").at(-1)),
    tokenFile: tokenFile!,
    token,
  };
}

interface Stranger {
  send(message: Send): void;
  join(change?: Partial<Extract<FromWorker, { kind: "join" }>["value"]>): void;
  /** Resolves with the next message of this kind. */
  hear<K extends FromCoordinator["kind"]>(kind: K): Promise<Extract<FromCoordinator, { kind: K }>["value"]>;
  /** How the coordinator ended the session. */
  readonly closed: Promise<RingtuneError | undefined>;
}

/** Speaks to the coordinator as a worker would, or as none would. */
async function callAsStranger({ address, token }: Coordinator): Promise<Stranger> {
  const heard: FromCoordinator[] = [];
  let wake = (): void => undefined;
  let close = (_: RingtuneError | undefined): void => undefined;
  const closed = new Promise<RingtuneError | undefined>((resolve) => (close = resolve));
  const session = await openSession({
    address,
    timeoutMs: 60_000,
    handlers: {
      message(message) {
        heard.push(message);
        wake();
      },
      closed: close,
    },
  });
  onTestFinished(() => session.end());
  return {
    send: (message) => session.send(message),
    join(change = {}) {
      const own = { protocolVersion: PROTOCOL_VERSION, workerId: "stranger", joinToken: token, host: "here", pid: 1 };
      session.send({ kind: "join", value: { ...own, holding: null, ringEndpoint: "tcp://127.0.0.1:1", ...change } });
    },
    async hear(kind) {
      for (;;) {
        const index = heard.findIndex((message) => message.kind === kind);
        if (index >= 0) return heard.splice(index, 1)[0]!.value as never;
        await new Promise<void>((resolve) => (wake = resolve));
      }
    },
    closed,
  };
}

function workerOf({ address, tokenFile }: Coordinator, ...args: string[]): Running {
  return start(["worker", "--coordinator", address, "--token-file", tokenFile, ...args]);
}

describe("whoever is not a worker of the run is told so, and the run does not mind", () => {
  test("another protocol version, a wrong token, no join, a wrong name, noise; then two workers train", async () => {
    const coordinator = await coordinate(2);
    const refused = async (speak: (stranger: Stranger) => void): Promise<[string | undefined, string | undefined]> => {
      const stranger = await callAsStranger(coordinator);
      speak(stranger);
      const error = await stranger.closed;
      return [error?.code, error?.message];
    };
    const other = PROTOCOL_VERSION + 1;
    const versions = `worker stranger speaks protocol version ${other}, the coordinator ${PROTOCOL_VERSION}; install the same Ringtune on both`;
    expect(await refused((stranger) => stranger.join({ protocolVersion: other }))).toEqual([
      "protocol_mismatch",
      versions,
    ]);
    // The terminal of the coordinator says it too: that is where somebody waits for the worker.
    await coordinator.running.waitFor(/refused a worker: worker stranger speaks protocol version/);
    expect(await refused((stranger) => stranger.join({ joinToken: "wrong" }))).toEqual([
      "unauthenticated",
      expect.stringMatching(/^worker stranger from \S+ has a wrong join token; /),
    ]);
    expect(
      await refused((stranger) =>
        stranger.send({ kind: "applied", value: { generation: 1, step: 1, seconds: 0, digest: "", notices: [] } }),
      ),
    ).toEqual(["protocol_mismatch", "the first message of a session is join, not applied"]);
    expect(await refused((stranger) => stranger.join({ workerId: "\u001b[2Jx" }))).toEqual([
      "usage",
      'a worker\'s name has at most 64 letters, digits, dots, dashes and underscores, not "\\u001b[2Jx"',
    ]);
    const noise = connect(coordinator.port, "127.0.0.1");
    noise.on("error", () => undefined);
    noise.end("GET / HTTP/1.0\r\n\r\n");
    await once(noise.resume(), "close");
    // One that only connects is not waited for.
    await callAsStranger(coordinator);

    const wrong = join(await temporaryFolder(), "token");
    await writeFile(wrong, "wrong");
    const mistaken = workerOf(coordinator, "--token-file", wrong, "--id", "w9");
    expect(sentenceOf(await mistaken.finished, 4, "ringtune worker")).toMatch(
      /^worker w9 from \S+ has a wrong join token; /,
    );

    const workers = [workerOf(coordinator), workerOf(coordinator)];
    const result = await coordinator.running.finished;
    expect(result, result.stderr).toMatchObject({ code: 0, stderr: "" });
    for (const worker of workers) {
      const ended = await worker.finished;
      expect(ended).toMatchObject({ code: 0, stderr: "" });
      const lines = linesOf(ended);
      expect(lines.at(-1)).toMatchObject({ level: "info", job: "run", generation: 1, step: 5 });
      expect(lines.map(({ message }) => message.replace(/, on .*/, ""))).toEqual([
        "takes part in generation 1 with the weights of step 0",
        ...lines.slice(1, -1).map(() => "wrote its part of the checkpoint of step 5"),
        "the run is over: all 5 steps are done",
      ]);
      expect(new Set(lines.map(({ rank }) => rank)).size).toBe(1);
    }
    expect(await readSteps(join(coordinator.folder, "runs/run"))).toHaveLength(5);
  });

  test("a worker too many", async () => {
    const coordinator = await coordinate(
      ...([1, "--set", "train.steps=1000000"] as const),
      ...["--set", "train.global_batch=1", "--set", "train.microbatch=1"],
    );
    workerOf(coordinator);
    await coordinator.running.waitFor(/step +1\//);
    const late = workerOf(coordinator, "--id", "late");
    expect(sentenceOf(await late.finished, 2, "ringtune worker")).toBe(
      "the run has 1 workers and train.global_batch 1: another would have no sequence",
    );
    coordinator.running.child.kill("SIGINT");
    expect((await coordinator.running.finished).code).toBe(130);
  });
});

describe("a worker that talks nonsense", () => {
  const votes = {
    tokens: 1,
    gradientNorm: 1,
    digest: "x",
    times: null,
    bytesSent: 0,
    bytesBetweenHosts: 0,
    notFiniteRows: [],
    notFiniteTensors: [],
    rows: 0,
    sampleDigest: "",
  };
  const sums = { lossSum: 1, tokens: 1, notFiniteRows: [], counts: null };

  /** Joins alone, and answers the first generation. */
  async function joined(coordinator: Coordinator, workerId = "stranger"): Promise<Stranger> {
    const stranger = await callAsStranger(coordinator);
    stranger.join({ workerId });
    await stranger.hear("welcome");
    return stranger;
  }
  const formed = (step = 0, generation = 1): Send => ({
    kind: "formed",
    value: {
      generation,
      step,
      engine: "none",
      engineWhy: [],
      gpuUuid: "",
      links: [],
      parameters: 1,
      digest: "x",
      notices: [],
    },
  });

  test("of other steps and generations is not heard; a loss that is no number ends the run", async () => {
    const coordinator = await coordinate(1);
    const stranger = await joined(coordinator);
    await stranger.hear("form");
    stranger.join();
    stranger.send({ kind: "reduced", value: { generation: 1, step: 1, lossSum: 1, ...votes } });
    stranger.send(formed());
    const plan = await stranger.hear("plan");
    expect(plan).toMatchObject({ generation: 1, step: 1 });
    for (const [generation, step] of [
      [0, 1],
      [2, 1],
      [1, 0],
      [1, 2],
      [1, Number.MAX_SAFE_INTEGER],
    ] as const) {
      stranger.send({ kind: "reduced", value: { generation, step, lossSum: 1, ...votes } });
      stranger.send({ kind: "evaluated", value: { generation, step, ...sums } });
      stranger.send({ kind: "applied", value: { generation, step, seconds: 1, digest: "", notices: [] } });
      stranger.send({ kind: "saved", value: { step, attempt: 1, files: [], factsJson: "", times: null } });
    }
    stranger.send({ kind: "reduced", value: { generation: 1, step: 1, lossSum: NaN, ...votes, rows: 12 } });
    await stranger.hear("finish");
    const sentence = sentenceOf(await coordinator.running.finished, 3);
    expect(sentence).toMatch(
      /^step 1 is not committed: worker stranger \(rank 0, host here, pid 1, .*\) has loss NaN over 1 tokens and gradient norm 1; lower train\.learning_rate or look at the data of this step; no checkpoint was written before$/,
    );
  });

  test("about its weights is left behind, by name, and another takes its place", async () => {
    const coordinator = await coordinate(1);
    const stranger = await joined(coordinator);
    await stranger.hear("form");
    stranger.send(formed(7));
    expect((await stranger.closed)?.message).toBe("its weights contain 7 steps, not 0");
    await coordinator.running.waitFor(
      /lost worker stranger \(.*\): its weights contain 7 steps, not 0: 0 of 1 workers are/,
    );
    workerOf(coordinator);
    expect(await coordinator.running.finished).toMatchObject({ code: 0, stderr: "" });
    expect(await readSteps(join(coordinator.folder, "runs/run"))).toHaveLength(5);
  });

  test("about the gradients: two digests are never committed, and who differs again and again is sent away", async () => {
    const coordinator = await coordinate(2);
    const [a, b] = [await joined(coordinator, "a"), await joined(coordinator, "b")];
    const vote = async (stranger: Stranger, generation: number, digest: string, rows: number): Promise<void> => {
      let plan = await stranger.hear("plan");
      while (plan.generation !== generation) plan = await stranger.hear("plan");
      const value = { generation, step: plan.step, lossSum: 1, ...votes, digest, rows };
      stranger.send({ kind: "reduced", value });
    };
    for (const generation of [1, 2, 3]) {
      for (const stranger of [a, b]) await stranger.hear("form");
      for (const stranger of [a, b]) stranger.send(formed(0, generation));
      // What they are asked first, in the order of the program; once it is known, not again.
      if (generation === 1) {
        for (const stranger of [a, b]) {
          const { step } = await stranger.hear("evaluate");
          stranger.send({ kind: "evaluated", value: { generation, step, ...sums } });
        }
      }
      await Promise.all([vote(a, generation, "right", 6), vote(b, generation, "wrong", 6)]);
    }
    expect((await b.closed)?.message).toBe("what it holds differed 3 times");
    await coordinator.running.waitFor(
      /step 1 is not committed: worker b \(rank 1, .*\) has reduced gradients with digest wrong; 1 of 2 workers have right/,
    );
    await a.hear("form");
    a.send(formed(0, 4));
    await vote(a, 4, "right", 12);
    expect(await a.hear("commit")).toEqual({ generation: 4, step: 1 });
  });
});

describe("a worker with a device or an option that does not exist", () => {
  test.each([
    ["onnx", "warp", /warp is not a device; engine onnx has auto, cpu, /],
    ["tfjs", "warp", /warp is not a device; engine tfjs has /],
  ])("the %s engine on %s: the coordinator says it in the worker's words, once", async (engine, device, expected) => {
    const coordinator = await coordinate(2, "--set", `cluster.engine=${engine}`);
    const workers = [workerOf(coordinator, "--device", device), workerOf(coordinator, "--device", device)];
    const sentence = sentenceOf(await coordinator.running.finished, 4);
    expect(sentence).toMatch(/^worker w-\w+ \(rank \d, host .*, pid \d+, last forming generation 1\): /);
    expect(sentence).toMatch(expected);
    const codes = (await Promise.all(workers.map(({ finished }) => finished))).map(({ code }) => code);
    expect(codes).toContain(4);
  });

  test.each<[string[], string]>([
    [[], "required option '--coordinator <host:port>' not specified (see ringtune worker --help)"],
    [["--coordinator", "here"], "argument 'here' is invalid; give host:port, such as 127.0.0.1:7447"],
    [["--coordinator", "h:1", "--threads", "0"], "'--threads <n>' argument '0' is invalid"],
    [["--coordinator", "h:1", "--ring-port", "65536"], "argument '65536' is invalid; the largest port is 65535"],
    [["--coordinator", "h:1", "--token-file", "nowhere"], "cannot read the join token: "],
    [["--coordinator", "h:1", "--coordinatr", "h:1"], "unknown option '--coordinatr'; did you mean --coordinator?"],
  ])("worker %j", async (args, expected) => {
    expect(await refusal(["worker", ...args], { code: 2, speaker: "ringtune worker" })).toContain(expected);
  });

  test("the other programs of the worker's side are as strict", async () => {
    const generate = { code: 2, speaker: "ringtune generate" };
    expect(await refusal(["generate"], generate)).toContain("missing required argument 'run'");
    expect(await refusal(["generate", "x", "--tokens", "-1"], generate)).toContain("argument '-1' is invalid");
    const fixtures = { code: 2, speaker: "ringtune fixtures" };
    expect(await refusal(["fixtures", "x", "--engine", "warp"], fixtures)).toContain("argument 'warp' is invalid");
  });
});

describe("a coordinator that is none", () => {
  /** Answers a worker's join in its own way. */
  async function serve(answer: (session: WorkerSession) => void): Promise<string> {
    const server = await serveSessions({
      host: "127.0.0.1",
      port: 0,
      accept: (session) => ({ message: () => answer(session), closed: () => undefined }),
    });
    onTestFinished(() => server.close());
    return server.address;
  }
  const call = (address: string, ...args: string[]) =>
    refusal(["worker", "--coordinator", address, ...args], { speaker: "ringtune worker" });

  test("does not answer", async () => {
    expect(await call("127.0.0.1:1", "--timeout", "1")).toBe(
      "no coordinator answers at 127.0.0.1:1 after 1000 ms; is it running, and is the address right?",
    );
  });

  test("takes the call and never says a word, as a host that hangs does", async () => {
    const sockets: Socket[] = [];
    const server = createServer((socket) => sockets.push(socket.on("error", () => undefined))).listen(0, "127.0.0.1");
    await once(server, "listening");
    onTestFinished(() => {
      sockets.forEach((socket) => socket.destroy());
      server.close();
    });
    const { port } = server.address() as AddressInfo;
    expect(await call(`127.0.0.1:${port}`, "--timeout", "2")).toMatch(
      new RegExp(`^(no coordinator answers at|the coordinator at) 127\\.0\\.0\\.1:${port} `),
    );
  });

  test("ends the session, or sends what it should not", async () => {
    const silent = await serve((session) => session.end());
    expect(await call(silent, "--timeout", "4")).toBe(`the coordinator at ${silent} is gone`);
    const early = await serve((session) =>
      session.send({
        kind: "save",
        value: { generation: 1, step: 1, path: "/", position: 0, part: 0, parts: 1, attempt: 1 },
      }),
    );
    expect(await refusal(["worker", "--coordinator", early], { code: 4, speaker: "ringtune worker" })).toBe(
      "the coordinator sent an unexpected save",
    );
  });

  test("dies before it answers for the first time: the worker calls again", async () => {
    const sockets: Socket[] = [];
    const calls = new Set<WorkerSession>();
    const address = await serve((session) => {
      calls.add(session);
      if (calls.size === 1) for (const socket of sockets) socket.resetAndDestroy();
      else session.send({ kind: "commit", value: { generation: 1, step: 1 } });
    });
    const front = createServer((socket) => {
      sockets.push(socket.on("error", () => undefined));
      const back = connect(Number(address.split(":")[1]), "127.0.0.1").on("error", () => undefined);
      socket.pipe(back).pipe(socket);
    });
    onTestFinished(() => void front.close());
    await new Promise<void>((resolve) => front.listen(0, "127.0.0.1", resolve));
    const { port } = front.address() as AddressInfo;
    const worker = ["worker", "--coordinator", `127.0.0.1:${port}`];
    const sentence = await refusal(worker, { code: 4, speaker: "ringtune worker" });
    expect(sentence).toBe("the coordinator sent an unexpected commit");
    expect(calls.size).toBe(2);
  });
});

import { once } from "node:events";
import { chmod, mkdir, readdir, readFile, writeFile } from "node:fs/promises";
import { createServer, type AddressInfo, type Socket } from "node:net";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, onTestFinished, test } from "vitest";
import { childrenOf, readSteps, smallRun, start, temporaryFolder, type Running } from "../support/cli.ts";
import { mounted } from "../support/small-disk.ts";
import {
  fingerprint,
  processesWith,
  refusal,
  sentenceOf,
  trainEarlierRun,
  type EarlierRun,
} from "../support/refusal.ts";

let earlier: EarlierRun;
let untouched: Record<string, string>;
beforeAll(async () => {
  earlier = await trainEarlierRun();
  untouched = await fingerprint(join(earlier.folder, "runs"));
});
afterAll(async () => {
  try {
    // No run was begun, none was changed.
    expect(await fingerprint(join(earlier.folder, "runs"))).toEqual(untouched);
  } finally {
    await earlier.remove();
  }
});

const train = (code: number, ...args: string[]) => refusal(["train", earlier.config, ...args], { code });

describe("a configuration that can't be used", () => {
  test.each<[string, string | Buffer, string]>([
    ["malformed YAML", "train: {steps: 3\n", "bad.yaml:2:1: "],
    ["an empty file", "", "bad.yaml is empty; begin with examples/sotu.yaml"],
    ["a list", "- 1\n", "bad.yaml must be sections such as train: and model:"],
    ["a binary file", Buffer.from([0, 1, 2]), "bad.yaml is a binary file; name the YAML configuration"],
    ["text that is not UTF-8", Buffer.from([0x61, 0xff]), "bad.yaml is not UTF-8 text"],
    ["an unknown model size", "train: {steps: 3}\nmodel: {size: hug}", 'bad.yaml:2:9: model.size: expected "nano", '],
    ["a batch that does not divide", "train: {steps: 3, global_batch: 10, microbatch: 4}", "4 does not divide"],
    [
      "a sequence longer than the model",
      "train: {steps: 3, sequence_length: 999}",
      "999 is longer than the 256 positions",
    ],
    ["no workers", "train: {steps: 3}\ncluster: {workers: 0}", "bad.yaml:2:11: cluster.workers: expected "],
    [
      "a device that does not exist",
      "train: {steps: 3}\ncluster: {device: warp}",
      'cluster.device: expected "auto", "cpu", ',
    ],
  ])("%s", async (_, text, expected) => {
    const cwd = await temporaryFolder();
    await writeFile(join(cwd, "bad.yaml"), text);
    expect(await refusal(["train", "bad.yaml"], { code: 2, cwd })).toContain(expected);
    expect(await readdir(cwd)).toEqual(["bad.yaml"]);
  });

  test("none at all, and no workers to run it", async () => {
    expect(await refusal(["train", "nowhere.yaml"], { code: 2 })).toContain("nowhere.yaml does not exist; name a YAML");
    expect(await train(2, "--workers", "0")).toContain("'--workers <n>' argument '0' is invalid");
    expect(await train(2, "--workers", "1.5")).toContain("'--workers <n>' argument '1.5' is invalid");
  });
});

describe("data that can't be learned from", () => {
  test.each<[string, string, string | Buffer, RegExp]>([
    ["an empty file", "a.txt", "", /a\.txt.*empty/],
    ["white space alone", "a.txt", " \n\n", /a\.txt/],
    [
      "a binary file",
      "a.txt",
      Buffer.from("text\0more"),
      /a\.txt: binary, not text: byte 4 is 0x00; give text in UTF-8/,
    ],
    ["another encoding", "a.txt", Buffer.from([0xff, 0xfe, 0x61, 0]), /a\.txt: it begins with the mark of UTF-16/],
    ["text that is not UTF-8", "a.txt", Buffer.from([0x61, 0xff, 0x62]), /a\.txt: not UTF-8: byte 1 is 0xFF/],
    ["a line that is not JSON", "a.jsonl", '{"text":"a"}\n{"text":\n', /a\.jsonl:2/],
    ["a line without text", "a.jsonl", '{"body":"a"}\n', /a\.jsonl:1.*text/],
    ["another kind of file", "a.pdf", "%PDF", /a\.pdf/],
  ])("%s", async (_, name, contents, expected) => {
    const folder = await temporaryFolder();
    await writeFile(join(folder, name), contents);
    expect(await train(1, "--set", `data.source=${join(folder, name)}`)).toMatch(expected);
  });

  test("files and folders that are not there", async () => {
    expect(await train(1, "--set", "data.source=nowhere.txt")).toMatch(/nowhere\.txt/);
    expect(await train(1, "--set", `data.source=${await temporaryFolder()}`)).toMatch(/no .*(files|documents|text)/i);
    expect(await train(1, "--set", "tokenizer.from=nowhere")).toMatch(/there is no folder nowhere either/);
  });
});

describe("a port that is busy", () => {
  async function busyPort(): Promise<number> {
    const server = createServer().listen(0, "127.0.0.1");
    await once(server, "listening");
    onTestFinished(() => void server.close());
    return (server.address() as AddressInfo).port;
  }

  test("the workers' and the metrics': said before the data is looked at, for a new run and for a resumed one", async () => {
    const port = await busyPort();
    const run = await earlier.copy();
    const before = await fingerprint(run);
    const resume = ["--resume", run, "--set", "train.steps=20"];
    for (const how of [["--set", "data.source=nowhere.txt"], resume]) {
      expect(await train(1, ...how, "--set", `cluster.port=${port}`)).toBe(
        `cannot listen on 127.0.0.1:${port}: the port is in use; choose another with cluster.port, or 0 for a free one`,
      );
      expect(await train(1, ...how, "--set", "metrics.enabled=true", "--set", `metrics.port=${port}`)).toMatch(
        /^can't serve metrics on 127\.0\.0\.1:\d+: another process listens there; stop it, or set metrics\.port/,
      );
    }
    expect(await fingerprint(run)).toEqual(before);
  });

  test("the ring's, of a worker", async () => {
    const port = await busyPort();
    const worker = ["worker", "--coordinator", "127.0.0.1:1", "--ring-port", String(port)];
    expect(await refusal(worker, { speaker: "ringtune worker" })).toBe(
      `cannot listen on 127.0.0.1:${port} for the all-reduce: another process uses the port; choose another, or 0 for a free one`,
    );
  });
});

describe("a disk that does not take the run", () => {
  test("a file where a folder should be", async () => {
    const sentence = await train(1, "--set", `checkpoint.dir=${earlier.config}/runs`);
    expect(sentence).toMatch(/^can't make the folder .*small\.yaml\/runs for the run: a part of the path is a file/);
  });

  test("a name that is taken: said before the data is looked at", async () => {
    const sentence = await train(1, "--set", "checkpoint.name=earlier", "--set", "data.source=nowhere.txt");
    expect(sentence).toContain("earlier exists already and is left as it is; go on with it by --resume ");
  });

  test.skipIf(process.getuid?.() === 0)("a folder without permission", async () => {
    const folder = await temporaryFolder();
    await chmod(folder, 0o555);
    expect(await train(1, "--set", `checkpoint.dir=${folder}`)).toMatch(/can't make the run .*: permission denied/);
  });

  test("a read-only file system", async ({ skip }) => {
    const folder = await mounted("size=1m,ro");
    if (folder === undefined) return skip("no file system can be mounted here");
    expect(await train(1, "--set", `checkpoint.dir=${folder}`)).toMatch(
      /can't make the run .*: the file system is read-only/,
    );
  });

  test("a file system that is full from the start", async ({ skip }) => {
    const folder = await mounted("size=64k");
    if (folder === undefined) return skip("no file system can be mounted here");
    await writeFile(join(folder, "ballast"), Buffer.alloc(64 * 1024)).catch(() => undefined);
    expect(await train(1, "--set", `checkpoint.dir=${folder}`)).toMatch(/^(can't|cannot) .*: the disk is full/);
    expect(await readdir(folder)).toEqual(["ballast"]);
  });
});

test("a job that is submitted twice runs once, and the second submission is told who is at it", async () => {
  const small = await smallRun({ steps: 5, warmup_steps: 0, eval_every: 0 });
  const submit = (): Running => start(["train", small.config, "--set", "checkpoint.name=job"]);
  // At the same moment only one of them makes the run directory.
  const results = await Promise.all([submit(), submit()].map(({ finished }) => finished));
  const [first, second] = results.sort((a, b) => Number(a.code) - Number(b.code));
  expect(first, first?.stderr).toMatchObject({ code: 0, stderr: "" });
  expect(sentenceOf(second!, 1)).toMatch(
    /runs\/job (is being written by process \d+ since |exists already and is left)/,
  );
  expect(await readSteps(join(small.folder, "runs/job"))).toHaveLength(5);

  const waiting = ["--set", "checkpoint.name=waiting", "--set", "cluster.workers=1"];
  const coordinator = start(["coordinator", small.config, ...waiting]);
  const [, address, token] = await coordinator.waitFor(/--coordinator (\S+) --token-file (\S+)/);
  for (const command of ["coordinator", "train"]) {
    expect(await refusal([command, small.config, ...waiting])).toContain(
      `runs/waiting is being written by process ${coordinator.child.pid} since `,
    );
  }
  // The one that is at it has not noticed.
  start(["worker", "--coordinator", address!, "--token-file", token!]);
  expect(await coordinator.finished).toMatchObject({ code: 0, stderr: "" });
});

describe("Ctrl-C", () => {
  test.each(["SIGINT", "SIGTERM"] as const)(
    "%s ends a worker that waits for its coordinator at once",
    async (signal) => {
      // It has called when somebody who is no coordinator hears it.
      const listener = createServer();
      listener.listen(0, "127.0.0.1");
      await once(listener, "listening");
      onTestFinished(() => void listener.close());
      const worker = start([
        ...["worker", "--timeout", "1000", "--coordinator"],
        `127.0.0.1:${(listener.address() as AddressInfo).port}`,
      ]);
      const [call] = (await once(listener, "connection")) as [Socket];
      call.on("error", () => undefined);
      worker.child.kill(signal);
      const result = await worker.finished;
      expect(sentenceOf(result, 130, "ringtune worker")).toBe(`stopped by ${signal}`);
    },
  );

  test("while the data is prepared leaves no run behind", async () => {
    const small = await smallRun();
    const line = `${JSON.stringify({ text: "a text of some length, again and again. ".repeat(50) })}\n`;
    await writeFile(join(small.folder, "data.jsonl"), line.repeat(3000));
    const running = start(["train", small.config, "--set", "metrics.enabled=true", "--set", "metrics.port=0"], {
      pauseAt: /metrics at/,
    });
    await running.paused();
    running.child.kill("SIGINT");
    running.child.kill("SIGCONT");
    const result = await running.finished;
    expect(sentenceOf(result, 130)).toMatch(/^stopped by SIGINT( before the first step)?$/);
    expect(await readdir(join(small.folder, "runs"))).toEqual([]);
  });

  test("before the first checkpoint: what was recorded stays, with its curve", async () => {
    const small = await smallRun({ steps: 1_000_000 });
    const running = start(["train", small.config, "--workers", "2", "--set", "checkpoint.name=early"]);
    await running.waitFor(/step +3\//);
    running.child.kill("SIGINT");
    const sentence = sentenceOf(await running.finished, 130);
    expect(sentence).toMatch(/^stopped by SIGINT after step \d+; go on with: ringtune train --resume .*early$/);
    expect(await readFile(join(small.folder, "runs/early/curve.svg"), "utf8")).toMatch(/<\/svg>\s*$/);
  });
});

test("workers that all die end the run with what killed them, and leave its records and its curve", async () => {
  const small = await smallRun({ steps: 1_000_000 });
  const tag = `all-die-${process.pid}`;
  const running = start(["train", small.config, "--workers", "2", "--set", "checkpoint.name=dead"], {
    env: { RINGTUNE_TEST_TAG: tag },
  });
  await running.waitFor(/saved step/);
  for (const pid of await childrenOf(running.child.pid!)) process.kill(pid, "SIGKILL");
  const sentence = sentenceOf(await running.finished, 1);
  expect(sentence).toMatch(
    /^no worker is left; lost worker w\d \(.*\): was killed by SIGKILL; worker w\d \(.*\): was killed by SIGKILL; go on from the checkpoint of step \d+ with: ringtune train --resume .*dead$/,
  );
  expect(await processesWith(tag)).toEqual([]);
  expect(await readFile(join(small.folder, "runs/dead/curve.svg"), "utf8")).toMatch(/<\/svg>\s*$/);
});

test("workers that can't start end the run with their own words", async () => {
  const { folder } = await smallRun();
  const fault = join(folder, "fault.mjs");
  await mkdir(folder, { recursive: true });
  await writeFile(
    fault,
    'if (process.argv[1]?.endsWith("worker/main.js")) { console.error("libgpu.so.9 is missing"); process.exit(7); }',
  );
  const sentence = await refusal(["train", earlier.config, "--workers", "3"], {
    env: { NODE_OPTIONS: `--import=${fault}` },
  });
  expect(sentence).toMatch(/^worker w\d \(pid \d+\) ended with exit code 7: libgpu\.so\.9 is missing$/);
});

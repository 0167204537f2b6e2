import { spawn, spawnSync } from "node:child_process";
import { once } from "node:events";
import {
  access,
  appendFile,
  mkdir,
  mkdtemp,
  readdir,
  readFile,
  readlink,
  rename,
  rm,
  symlink,
  writeFile,
} from "node:fs/promises";
import { hostname, tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { enlarge, smallDisk } from "../../support/small-disk.ts";
import { loadConfig } from "../../../common/config/load.ts";
import type { Config } from "../../../common/config/schema.ts";
import { RingtuneError, type ErrorCode } from "../../../common/errors.ts";
import type { RunRecord, StepRecord } from "../../../common/records.ts";
import { openRecordLog, readRecordLog } from "../../../coordinator/store/record-log.ts";
import {
  createRunDirectory,
  openRunDirectory,
  readRunConfig,
  type RunDirectory,
} from "../../../coordinator/store/run-directory.ts";

let folder = "";
let config: Config;
const opened: RunDirectory[] = [];

beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), "ringtune-store-"));
  config = await configOf();
});

afterEach(async () => {
  for (const run of opened.splice(0)) await run.close().catch(() => undefined);
  await rm(folder, { recursive: true, force: true });
});

function configOf(...overrides: string[]): Promise<Config> {
  return loadConfig({ overrides: ["train.steps=9", `checkpoint.dir=${join(folder, "runs")}`, ...overrides] });
}

async function create(from: Config = config): Promise<RunDirectory> {
  const run = await createRunDirectory(from);
  opened.push(run);
  return run;
}

async function open(path: string): Promise<RunDirectory> {
  const run = await openRunDirectory(path);
  opened.push(run);
  return run;
}

async function failure(promise: Promise<unknown>): Promise<{ code: ErrorCode; message: string }> {
  const error = await promise.then(
    () => undefined,
    (thrown: unknown) => thrown,
  );
  if (!(error instanceof RingtuneError)) throw new Error(`no RingtuneError but ${String(error)}`);
  return error;
}

/** What a worker does when it is told to save. */
async function save(run: RunDirectory, step: number, weights = "weights"): Promise<void> {
  const path = run.checkpointPath(step);
  await mkdir(path);
  await writeFile(join(path, "model.safetensors"), weights);
  const files = { "model.safetensors": { sizeBytes: weights.length, sha256: "" } };
  await writeFile(join(path, "state.json"), JSON.stringify({ step, position: step * 16, files }));
}

function record(step: number): StepRecord {
  const seconds = { data: 0, compute: 1, allReduce: 0, commit: 0, total: 1 };
  const counts = { samples: 1, tokens: 1, allReduceBytes: 0, busBandwidth: 0, worldSize: 1, generation: 1, timeMs: 0 };
  return { kind: "step", step, epoch: 0, loss: 1, learningRate: 1, gradientNorm: 1, seconds, ...counts };
}

function validation(step: number): RunRecord {
  return { kind: "validation", step, loss: 1, perplexity: Math.E, tokens: 1, seconds: 1, timeMs: 0 };
}

describe("a new run", () => {
  test("holds its configuration, tokenizer, records and curve", async () => {
    const run = await create();
    await run.writeTokenizer("{}", "{ }");
    await run.append(record(1));
    await run.writeCurve("<svg/>");
    expect(await readRunConfig(run.path)).toEqual(config);
    expect(await run.readRecords()).toEqual([record(1)]);
    expect((await readdir(run.path)).sort()).toEqual(
      [
        "checkpoints",
        "curve.svg",
        "metrics.jsonl",
        "ringtune.yaml",
        "run.lock",
        "tokenizer.json",
        "tokenizer_config.json",
      ].sort(),
    );
    await run.close();
    expect(await readdir(run.path)).not.toContain("run.lock");
  });

  test("gets a name with the date, another one each time", async () => {
    const at = new Date(2026, 2, 14, 15, 9, 26);
    const [a, b] = [await createRunDirectory(config, at), await createRunDirectory(config, at)];
    opened.push(a, b);
    expect(a.name).toMatch(/^20260314-150926-[0-9a-f]{4}$/);
    expect(b.name).not.toBe(a.name);
  });

  test("never touches one of the same name", async () => {
    const named = await configOf("checkpoint.name=mine");
    const run = await create(named);
    await run.append(record(1));
    await run.close();
    const before = await readFile(run.file("metrics.jsonl"), "utf8");
    const error = await failure(createRunDirectory(named));
    expect(error.code).toBe("run_exists");
    expect(error.message).toContain(`mine exists already and is left as it is; go on with it by --resume ${run.path}`);
    expect(await readFile(run.file("metrics.jsonl"), "utf8")).toBe(before);
  });

  test("is not made twice: whoever is at it is named", async () => {
    const named = await configOf("checkpoint.name=twice");
    const run = await create(named);
    const error = await failure(createRunDirectory(named));
    expect(error.code).toBe("run_exists");
    expect(error.message).toMatch(
      new RegExp(
        `twice is being written by process ${process.pid} since .*; stop it first, or train into another run$`,
      ),
    );
    await run.append(record(1));
  });

  test("that can't be made says why", async () => {
    await writeFile(join(folder, "runs"), "a file");
    const error = await failure(createRunDirectory(config));
    expect(error.code).toBe("disk_failed");
    expect(error.message).toMatch(/can't make the folder .*runs for the run: /);
  });

  test("that got nowhere can be discarded, one with records stays", async () => {
    const [empty, used] = [await create(), await create()];
    await used.append(record(1));
    await empty.discard();
    await used.discard();
    expect(await readdir(join(folder, "runs"))).toEqual([used.name]);
  });
});

describe("checkpoints", () => {
  test("become the latest when they are published, and only the newest are kept", async () => {
    const run = await create(await configOf("checkpoint.keep=2"));
    for (const step of [1, 2, 3, 4]) {
      await save(run, step);
      if (step > 1) expect(await readlink(run.file("latest"))).toBe(`checkpoints/step-0000000${step - 1}`);
      expect(await run.publish(step)).toEqual({ path: run.checkpointPath(step), step, position: step * 16 });
    }
    expect(await readdir(run.file("checkpoints"))).toEqual(["step-00000003", "step-00000004"]);
    expect(await readlink(run.file("latest"))).toBe("checkpoints/step-00000004");
  });

  test("that are not complete are refused, and the latest stays", async () => {
    const run = await create();
    await save(run, 1);
    await run.publish(1);
    await mkdir(run.checkpointPath(2));
    expect((await failure(run.publish(2))).message).toContain("state.json is missing: the checkpoint is not complete");
    await save(run, 3, "weights");
    await writeFile(join(run.checkpointPath(3), "model.safetensors"), "weig");
    expect((await failure(run.publish(3))).message).toContain("truncated: it has 4 bytes, 7 were written");
    expect(await readlink(run.file("latest"))).toBe("checkpoints/step-00000001");
  });
});

describe("a run that is opened again", () => {
  async function stopped(...steps: number[]): Promise<RunDirectory> {
    const run = await create();
    await run.append(validation(0));
    for (const step of steps) {
      await run.append(record(step));
      await save(run, step);
      await run.publish(step);
    }
    return run;
  }

  test("goes on from its latest checkpoint, without the records after it and without a torn line", async () => {
    const run = await stopped(1, 2);
    await run.append(record(3));
    await appendFile(run.file("metrics.jsonl"), '{"kind":"step","st');
    await run.close();
    const again = await open(run.path);
    expect(again.checkpoint).toEqual({ path: run.checkpointPath(2), step: 2, position: 32 });
    expect(again.config).toEqual(config);
    expect((await again.readRecords()).map(({ step }) => step)).toEqual([0, 1, 2]);
    await again.append(record(3));
    expect((await again.readRecords()).at(-1)).toEqual(record(3));
  });

  test("loses what a crash left behind with its first record, and nothing else", async () => {
    const run = await stopped(1, 2);
    await mkdir(run.file("checkpoints/.step-00000003.abcd.tmp"));
    await mkdir(run.checkpointPath(3));
    await save(run, 4);
    await writeFile(run.file(".metrics.jsonl.1.ab.tmp"), "");
    await writeFile(run.file("notes.txt"), "mine");
    await run.append(record(4));
    await run.close();
    const again = await open(run.path);
    await mkdir(join(run.path, "checkpoints/aside"));
    await rename(run.checkpointPath(4), join(run.path, "checkpoints/aside/4"));
    await save(run, 4, "written anew");
    await again.append(record(3));
    expect(await readdir(run.file("checkpoints"))).toEqual([
      "aside",
      "step-00000001",
      "step-00000002",
      "step-00000004",
    ]);
    expect((await again.readRecords()).map(({ step }) => step)).toEqual([0, 1, 2, 3]);
    const names = await readdir(run.path);
    expect(names).toContain("notes.txt");
    expect(names.filter((name) => name.endsWith(".tmp"))).toEqual([]);
  });

  test("is left as it was when the start fails before the first record", async () => {
    const run = await stopped(1, 2);
    await run.append(record(3));
    await save(run, 3);
    await mkdir(run.file("checkpoints/.step-00000004.abcd.tmp"));
    await run.close();
    const contents = async () => [
      await readdir(run.path),
      await readdir(run.file("checkpoints")),
      await readFile(run.file("metrics.jsonl"), "utf8"),
      await readFile(run.file("ringtune.yaml"), "utf8"),
    ];
    const before = await contents();
    const again = await openRunDirectory(run.path);
    again.goOnWith(await configOf("train.learning_rate=0.5"));
    expect(again.changed).toBe(false);
    expect((await again.readRecords()).map(({ step }) => step)).toEqual([0, 1, 2]);
    await again.discard();
    expect(await contents()).toEqual(before);
  });

  test("takes other settings over with its first record", async () => {
    const run = await stopped(1);
    await run.close();
    const again = await open(run.path);
    again.goOnWith(await configOf("train.learning_rate=0.5"));
    await again.append(record(2));
    expect(again.changed).toBe(true);
    expect((await readRunConfig(run.path)).train.learning_rate).toBe(0.5);
  });

  test("names a truncated checkpoint, and the one to fall back to", async () => {
    const run = await stopped(1, 2);
    await run.close();
    await writeFile(join(run.checkpointPath(2), "model.safetensors"), "we");
    const error = await failure(openRunDirectory(run.path));
    expect(error.code).toBe("checkpoint_invalid");
    expect(error.message).toMatch(/truncated: it has 2 bytes, 7 were written; the checkpoint of step 1 is there too/);
    await rm(run.file("latest"));
    await symlink("checkpoints/step-00000001", run.file("latest"));
    expect((await open(run.path)).checkpoint?.step).toBe(1);
  });

  test.each([
    ["not JSON", "{", /state\.json is not readable JSON; there is no other checkpoint/],
    ["without a position", '{"step":1}', /state\.json lacks the step and position/],
    ["of another step", '{"step":7,"position":0}', /state\.json is of step 7, but its folder is of step 1/],
  ])("names a state that is %s", async (_, text, expected) => {
    const run = await stopped(1);
    await run.close();
    await writeFile(join(run.checkpointPath(1), "state.json"), text);
    const error = await failure(openRunDirectory(run.path));
    expect(error.code).toBe("checkpoint_invalid");
    expect(error.message).toMatch(expected);
  });

  test("says when there is no checkpoint, no run, or no folder", async () => {
    const run = await create();
    await run.close();
    expect((await failure(openRunDirectory(run.path))).message).toContain("stopped before the first was complete");
    const missing = await failure(openRunDirectory(join(folder, "nowhere")));
    expect(missing.code).toBe("run_missing");
    expect(missing.message).toContain("nowhere does not exist; name the folder of a run");
    expect((await failure(openRunDirectory(folder))).message).toContain("is not a run: it has no ringtune.yaml");
    expect((await failure(openRunDirectory(run.file("ringtune.yaml")))).message).toContain("is a file, not a run");
    await writeFile(run.file("ringtune.yaml"), "train: {");
    const damaged = await failure(openRunDirectory(run.path));
    expect(damaged.code).toBe("checkpoint_invalid");
    expect(damaged.message).toContain("the configuration of the run was damaged");
    expect(await readdir(run.path)).not.toContain("run.lock");
  });

  test("names the folder of checkpoints when it can't be reached, and why, and is left as it was", async () => {
    const run = await stopped(1);
    await run.close();
    const checkpoints = run.file("checkpoints");
    await rename(checkpoints, run.file("aside"));
    const unreachable = async (cause: string): Promise<void> => {
      expect(await failure(openRunDirectory(run.path))).toMatchObject({
        code: "disk_failed",
        message: `can't reach the folder of the run's checkpoints ${checkpoints}: ${cause}; nothing was changed, start again when it is there`,
      });
    };
    await unreachable("there is no such folder");
    await writeFile(checkpoints, "");
    await unreachable("a part of the path is a file, not a folder");
    await rm(checkpoints);
    await symlink("checkpoints", checkpoints);
    await unreachable("ELOOP");
    await rm(checkpoints);
    await rename(run.file("aside"), checkpoints);
    expect((await open(run.path)).checkpoint?.step).toBe(1);
  });

  test("names the line of a damaged record that is not the last", async () => {
    const run = await stopped(1);
    await appendFile(run.file("metrics.jsonl"), "\0\0\0\n");
    await run.append(record(2));
    await run.close();
    expect((await failure(openRunDirectory(run.path))).message).toContain("metrics.jsonl:3 is not a record of a run");
  });
});

describe("the lock", () => {
  const holder = (pid: number, host = hostname()): string =>
    JSON.stringify({ pid, host, started: null, since: "2026-03-14T15:09:26.000Z" });

  async function runWithLock(text: string): Promise<RunDirectory> {
    const run = await create();
    await save(run, 1);
    await run.publish(1);
    await run.close();
    await writeFile(run.file("run.lock"), text);
    return run;
  }

  test("keeps a second writer out, whoever it is", async () => {
    const run = await create();
    await save(run, 1);
    await run.publish(1);
    const error = await failure(openRunDirectory(run.path));
    expect(error.code).toBe("run_exists");
    expect(error.message).toContain(`is being written by process ${process.pid} since 20`);
    await run.close();
    expect((await open(run.path)).checkpoint?.step).toBe(1);
  });

  test("names the living process that holds it", async () => {
    const child = spawn(process.execPath, ["-e", "process.stdin.resume()"], { stdio: ["pipe", "ignore", "ignore"] });
    const run = await runWithLock(holder(child.pid ?? 0));
    expect((await failure(openRunDirectory(run.path))).message).toContain(`written by process ${child.pid} since 2026`);
    child.stdin.end();
    await once(child, "exit");
    expect((await open(run.path)).checkpoint?.step).toBe(1);
  });

  test("of a process that is gone is taken over, by one of many", async () => {
    const { pid } = spawnSync(process.execPath, ["-e", ""]);
    const run = await runWithLock(holder(pid));
    const results = await Promise.allSettled(Array.from({ length: 8 }, () => open(run.path)));
    expect(results.filter(({ status }) => status === "fulfilled")).toHaveLength(1);
    expect((await readdir(run.path)).filter((name) => name.endsWith(".tmp"))).toEqual([]);
  });

  test("of an earlier process with the same pid is taken over", async () => {
    const run = await runWithLock(holder(process.pid).replace("null", '"another boot/1"'));
    const proc = await access("/proc/self/stat").then(
      () => true,
      () => false,
    );
    if (proc) expect((await open(run.path)).checkpoint?.step).toBe(1);
  });

  test("that was torn is taken over, that of another host is not", async () => {
    const torn = await runWithLock("{");
    expect((await open(torn.path)).checkpoint?.step).toBe(1);
    const remote = await runWithLock(holder(1, "elsewhere"));
    expect((await failure(openRunDirectory(remote.path))).message).toMatch(
      /written by process 1 on elsewhere since .*; stop it, or remove .*run\.lock if it is gone/,
    );
  });
});

describe("the records", () => {
  test("appended at once arrive whole and in order", async () => {
    const path = join(folder, "metrics.jsonl");
    const log = await openRecordLog(path);
    await Promise.all(Array.from({ length: 1000 }, (_, step) => log.append(record(step))));
    await log.sync();
    await log.close();
    const steps = (await readFile(path, "utf8"))
      .trimEnd()
      .split("\n")
      .map((line) => (JSON.parse(line) as RunRecord).step);
    expect(steps).toEqual(Array.from({ length: 1000 }, (_, step) => step));
  });

  test("on a full disk wait in memory, said when it begins and when it is synced and closed", async ({ skip }) => {
    if (
      !(await access("/dev/full").then(
        () => true,
        () => false,
      ))
    )
      skip("needs /dev/full");
    const told: [number, string][] = [];
    const log = await openRecordLog("/dev/full", (...news) => told.push(news));
    await log.append(record(1));
    await log.append(record(2));
    const full = "can't write /dev/full: the disk is full";
    expect(told).toEqual([
      [1, full],
      [2, full],
    ]);
    expect(await failure(log.sync())).toMatchObject({ code: "disk_failed", message: full });
    expect((await failure(log.close())).message).toBe(`${full}; 2 records are lost`);
  });

  test("are written when the disk takes them again, none torn and none lost", async ({ skip }) => {
    const disk = await smallDisk(64);
    if (disk === undefined) return skip("no file system can be mounted here");
    const path = join(disk, "metrics.jsonl");
    const told: number[] = [];
    const log = await openRecordLog(path, (count) => told.push(count));
    const steps = Array.from({ length: 300 }, (_, step) => step + 1);
    for (const step of steps) await log.append(record(step));
    expect(told.at(-1)).toBeGreaterThan(10);
    expect((await failure(log.sync())).message).toContain("the disk is full");
    enlarge(disk, 1024);
    await log.append(record(301));
    expect(told.at(-1)).toBe(0);
    await log.close();
    expect((await readRecordLog(path)).map(({ step }) => step)).toEqual([...steps, 301]);
  });

  test("that are more than memory is kept for end the run", async ({ skip }) => {
    if (
      !(await access("/dev/full").then(
        () => true,
        () => false,
      ))
    )
      skip("needs /dev/full");
    const log = await openRecordLog("/dev/full");
    const large = { ...record(1), timeMs: 1, note: "x".repeat(1 << 20) };
    for (let i = 0; i < 4; i++) await log.append(large);
    expect((await failure(log.append(record(2)))).message).toMatch(
      /4 records wait for the disk, .*: can't write .* full/,
    );
    await failure(log.close());
  });
});

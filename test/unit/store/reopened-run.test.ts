import { spawn, spawnSync } from "node:child_process";
import { once } from "node:events";
import { access, appendFile, mkdir, readdir, readFile, rename, rm, symlink, writeFile } from "node:fs/promises";
import { hostname } from "node:os";
import { join } from "node:path";
import { describe, expect, test } from "vitest";
import { openRunDirectory, readRunConfig, type RunDirectory } from "../../../coordinator/store/run-directory.ts";
import {
  config,
  configOf,
  create,
  failure,
  folder,
  open,
  record,
  save,
  validation,
} from "../../support/run-directories.ts";

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

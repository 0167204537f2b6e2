import { access, mkdir, readdir, readFile, readlink, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { describe, expect, test } from "vitest";
import type { RunRecord } from "../../../common/records.ts";
import { openRecordLog, readRecordLog } from "../../../coordinator/store/record-log.ts";
import { createRunDirectory, readRunConfig } from "../../../coordinator/store/run-directory.ts";
import { config, configOf, create, failure, folder, record, save } from "../../support/run-directories.ts";
import { enlarge, smallDisk } from "../../support/small-disk.ts";

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
    const [a, b] = [await create(config, at), await create(config, at)];
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

// train.zero as real processes: the same bits as without it at any number of workers, under kills and across a resume, and the
// memory that it is for, as the kernel counts it.

import { createHash } from "node:crypto";
import { readdir, readFile } from "node:fs/promises";
import { join } from "node:path";
import { setTimeout as delay } from "node:timers/promises";
import { expect, test } from "vitest";
import { createRandom } from "../../common/random.ts";
import { childrenOf, finish, readRecords, smallRun, start, waitForStep } from "../support/cli.ts";

const exact = ["--set", "cluster.device=cpu", "--set", "checkpoint.writers=one"];
const named = (name: string): string[] => ["--set", `checkpoint.name=${name}`];
const zero = ["--set", "train.zero=1"];

/** Losses, norms and SHA-256 of the last weights and optimizer state. */
async function bitsOf(run: string) {
  const records = await readRecords(run);
  const steps = new Map(
    records.flatMap((record) =>
      record.kind === "step" ? [[record.step, [record.loss, record.gradientNorm]] as const] : [],
    ),
  );
  const digest = async (file: string): Promise<string> =>
    createHash("sha256")
      .update(await readFile(join(run, "latest", file)))
      .digest("hex");
  return {
    steps: [...steps],
    weights: await digest("model.safetensors"),
    state: await digest("optimizer.safetensors"),
  };
}

/** Bytes that a process has mapped of the state of its host, and its part of those that are there, by how many share them. */
async function memoryOf(pid: number): Promise<{ state: number; mapped: number }> {
  const bytes = (text: string, field: string): number =>
    [...text.matchAll(new RegExp(`^${field}: +(\\d+) kB`, "gm"))].reduce((sum, [, kB]) => sum + 1024 * Number(kB), 0);
  const all = await readFile(`/proc/${pid}/smaps`, "utf8");
  const mappings = all
    .split(/^(?=[0-9a-f]+-[0-9a-f]+ )/m)
    .filter((mapping) => mapping.includes("/memfd:ringtune-state"));
  return { state: bytes(mappings.join(""), "Pss"), mapped: bytes(mappings.join(""), "Size") };
}

test("one and two workers, and four of which three are killed, end with the bits of one without", async () => {
  const { config, folder } = await smallRun({ ...{ bit_identical: true, steps: 150, eval_every: 0 } });
  const runOf = (name: string): string => join(folder, "runs", name);
  const trained = async (name: string, ...args: string[]) => {
    const result = await finish(["train", config, ...exact, ...named(name), ...args]);
    expect(result, result.stderr).toMatchObject({ code: 0 });
    return { ...result, bits: await bitsOf(runOf(name)) };
  };
  const { bits } = await trained("plain", "--workers", "1");
  expect(bits.steps.length).toBe(150);
  const alone = await trained("one", ...zero, "--workers", "1");
  expect(alone.bits).toEqual(bits);
  const two = await trained("two", ...zero, "--workers", "2");
  expect(two.stdout).toContain("weights and optimizer state: once for each host, of 2 workers");
  expect(two.bits).toEqual(bits);

  const wounded = start(["train", config, ...exact, ...zero, ...named("wounded"), "--workers", "4"]);
  const random = createRandom(5, "kills");
  const killed = new Set<number>();
  for (const step of [10, 20, 30]) {
    await waitForStep(runOf("wounded"), (record) => record.step >= step);
    await delay(random.integer(20)); // wherever in a step that is
    const alive = (await childrenOf(wounded.child.pid!)).filter((pid) => !killed.has(pid));
    const pid = alive[random.integer(Math.min(alive.length, 4 - killed.size))]!;
    killed.add(pid);
    process.kill(pid, "SIGKILL");
  }
  await waitForStep(runOf("wounded"), ({ step }) => step >= 45);
  wounded.child.kill("SIGKILL");
  await wounded.finished;
  const resumed = await finish(["train", "--resume", runOf("wounded"), "--workers", "3"]);
  expect(resumed, resumed.stderr).toMatchObject({ code: 0 });
  expect(await bitsOf(runOf("wounded"))).toEqual(bits);
  const log = await readFile(join(runOf("wounded"), "log.jsonl"), "utf8");
  expect(log.match(/lost worker w\d/g)!.length).toBeGreaterThanOrEqual(3);
  expect(log).toContain("once for each host, of 4 workers");
  // What processes share has no name that could be left behind.
  expect((await readdir("/dev/shm")).filter((name) => name.includes("ringtune"))).toEqual([]);
}, 240_000);

test("two workers of a host have weights and optimizer state once", async () => {
  const wide = { model: { layers: 1, hidden: 768, heads: 4, positions: 32 } };
  const { config, folder } = await smallRun({ steps: 100_000, eval_every: 0, global_batch: 2, microbatch: 1 });
  const sets = Object.entries(wide.model).flatMap(([field, value]) => ["--set", `model.${field}=${value}`]);
  const measured = async (name: string, ...args: string[]) => {
    const quiet = ["--set", "checkpoint.every=100000", "--set", "cluster.device=cpu", "--workers", "2"];
    const running = start(["train", config, ...sets, ...named(name), ...quiet, ...args]);
    const [, count = ""] = await running.waitFor(/training all ([\d,]+) parameters/);
    await waitForStep(join(folder, "runs", name), ({ step }) => step >= 5);
    const workers = await Promise.all((await childrenOf(running.child.pid!)).map(memoryOf));
    running.child.kill("SIGKILL");
    await running.finished;
    const state = workers.reduce((sum, each) => sum + each.state, 0);
    const bytes = 3 * 4 * Number(count.replaceAll(",", "")); // weights and the two moments of AdamW
    return { workers, bytes, state };
  };
  const plain = await measured("plain");
  const divided = await measured("divided", ...zero);
  expect(plain.state).toBe(0);
  expect(divided.workers.length).toBe(2);
  // Each sees all of it, and the words and shadows of both: a page, and three blocks of 32 KB for each.
  for (const { mapped } of divided.workers) {
    expect(mapped).toBeGreaterThan(divided.bytes);
    expect(mapped).toBeLessThan(divided.bytes + 300_000);
  }
  expect(divided.state).toBeGreaterThan(0.99 * divided.bytes);
  expect(divided.state).toBeLessThan(divided.bytes + 300_000);
}, 120_000);

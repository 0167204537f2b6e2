// Three real coordinators on a real etcd: one leads, and what happens to it costs the run nothing.

import { readdir, readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { describe, expect, onTestFinished, test } from "vitest";
import { finish, readSteps, smallRun, start, type Running, type SmallRun, type StartOptions } from "../support/cli.ts";
import { hasEtcd, startEtcd } from "../support/etcd.ts";
import { freePort } from "../support/free-port.ts";

const steps = 60;

interface Cluster extends SmallRun {
  readonly run: string;
  readonly addresses: readonly string[];
  /** The first leads, the others stand by in this order. */
  readonly coordinators: readonly [Running, Running, Running];
  readonly workers: readonly Running[];
}

/** Has done 20 steps; there the leader stands still, where that is asked for. */
async function train(settings: Record<string, unknown>, how?: "leader stands still"): Promise<Cluster> {
  const etcd = await startEtcd();
  onTestFinished(() => etcd.stop());
  const small = await smallRun(settings);
  const config = JSON.parse(await readFile(small.config, "utf8")) as Record<string, Record<string, unknown>>;
  // A lease that no pause of a busy machine outlasts.
  const store = { kind: "etcd", endpoints: etcd.endpoints, lease_s: 8 };
  config["cluster"] = { ...config["cluster"], workers: 2, store };
  config["checkpoint"]!["name"] = "run";
  await writeFile(small.config, JSON.stringify(config));
  const ports = await Promise.all([freePort(), freePort(), freePort()]);
  const coordinate = (port: number, options: StartOptions = {}): Running =>
    start(["coordinator", small.config, "--set", `cluster.port=${port}`], options);
  const twenty = /step +20\//;
  const first = coordinate(ports[0], how === undefined ? {} : { pauseAt: twenty });
  await first.waitFor(/elected: this coordinator leads the run run, with a lease of 8 s\n/);
  const second = coordinate(ports[1]);
  await second.waitFor(/standing by: the coordinator at \S+ \(pid \d+ on \S+\) leads the run run\n/);
  const third = coordinate(ports[2]);
  await third.waitFor(/standing by/);
  await first.waitFor(/ringtune worker --coordinator /);
  const run = join(small.folder, "runs/run");
  const addresses = ports.map((port) => `127.0.0.1:${port}`);
  // One that stands by is asked first, and passes them on.
  const asked = [addresses[1], addresses[2], addresses[0]].join(",");
  const workers = ["w0", "w1"].map((id) =>
    start(["worker", "--coordinator", asked, "--token-file", join(run, "join-token"), "--id", id]),
  );
  await (how === undefined ? first.waitFor(twenty) : first.paused());
  return { ...small, run, addresses, coordinators: [first, second, third], workers };
}

/** The run went on to its end under the second coordinator, with the workers that it began with, and nobody can tell. */
async function expectUndisturbed({ coordinators, workers, folder, config, run }: Cluster): Promise<void> {
  const [, second, third] = coordinators;
  const result = await second.finished;
  expect(result, result.stderr).toMatchObject({ code: 0, stderr: "" });
  expect(result.stdout).toMatch(/elected: this coordinator leads the run run/);
  expect(result.stdout).toMatch(/generation 1 -> 2 with 2 workers: all are back/);
  for (const worker of workers) {
    const ended = await worker.finished;
    expect(ended, ended.stderr).toMatchObject({ code: 0 });
    expect(ended.stdout).toContain("found the coordinator again");
  }
  const last = await third.finished;
  expect(last, last.stderr).toMatchObject({ code: 0 });
  expect(last.stdout).toContain(`has ended, after step ${steps}; another coordinator led it\n`);

  const [found, expected] = [await resultOf(run), await (reference ??= trainAlone(config, folder))];
  expect(found.steps).toEqual(expected.steps);
  expect(found.weights.equals(expected.weights)).toBe(true);
  expect((await readSteps(run)).at(-1)?.ledger).toMatchObject({ duplicated: 0, lost: 0 });
}

interface Result {
  readonly steps: unknown;
  readonly weights: Buffer;
}

let reference: Promise<Result> | undefined;

/** The same run, of which nothing is lost. */
async function trainAlone(config: string, folder: string): Promise<Result> {
  const settings = JSON.parse(await readFile(config, "utf8")) as Record<string, Record<string, unknown>>;
  settings["cluster"] = { ...settings["cluster"], store: { kind: "embedded" } };
  settings["checkpoint"]!["name"] = "alone";
  await writeFile(config, JSON.stringify(settings));
  const result = await finish(["train", config]);
  expect(result, result.stderr).toMatchObject({ code: 0 });
  return resultOf(join(folder, "runs/alone"));
}

async function resultOf(run: string): Promise<Result> {
  const steps = (await readSteps(run)).map(({ step, loss, ledger }) => [step, loss, ledger?.digest]);
  const latest = join(run, "latest");
  const names = (await readdir(latest)).filter((name) => /^model.*\.safetensors$/.test(name)).sort();
  const parts = await Promise.all(names.map((name) => readFile(join(latest, name))));
  expect(parts.length).toBeGreaterThan(0);
  return { steps, weights: Buffer.concat(parts) };
}

describe.skipIf(!hasEtcd)("three coordinators on etcd (package etcd-server)", () => {
  test("when the leader is killed another goes on, with the same workers and the same weights", async () => {
    const cluster = await train({ steps, eval_every: 30 }, "leader stands still");
    cluster.coordinators[0].child.kill("SIGKILL");
    await expectUndisturbed(cluster);
  });

  test("SIGTERM at the leader hands the run over to the next one, and ringtune stop ends it for all", async () => {
    const { coordinators, workers, run, addresses } = await train({ steps: 1_000_000, eval_every: 0 });
    const [first, second, third] = coordinators;
    const listed = (await finish(["status", run])).stdout;
    expect(listed).toContain(`  coordinator ${addresses[1]} (pid ${second.child.pid} on `);
    expect(listed).toMatch(
      new RegExp(`coordinator ${addresses[1]} .* is the next to lead\n  coordinator ${addresses[2]} .* stands by\n`),
    );
    first.child.kill("SIGTERM");
    const handed = await first.finished;
    const next = `the coordinator at ${addresses[1]} (pid ${second.child.pid} on `;
    expect(handed.stdout).toContain(`stopped by SIGTERM: handing the run over to ${next}`);
    expect(handed.code).toBe(130);
    expect(handed.stderr).toContain(`ringtune: stopped by SIGTERM; ${next}`);
    const [, given] = /goes on with the run after step (\d+)\n$/.exec(handed.stderr) ?? [];
    expect(Number(given)).toBeGreaterThanOrEqual(20);
    await second.waitFor(new RegExp(`going on after step ${given}: [^]*2 workers: all are back[^]*step +\\d+/`));
    expect((await finish(["status", run])).stdout).toContain(`coordinator ${addresses[2]} (pid ${third.child.pid} on `);

    const stopped = await finish(["stop", run]);
    expect(stopped, stopped.stderr).toMatchObject({ code: 0 });
    const [, end] = /^the run ends after step (\d+), with a checkpoint of it\n$/.exec(stopped.stdout) ?? [];
    expect(await second.finished).toMatchObject({
      code: 130,
      stderr: expect.stringContaining(`stopped by ringtune stop after step ${end}; go on with: `) as string,
    });
    expect((await third.finished).stdout).toContain(`has ended, after step ${end}; another coordinator led it\n`);
    for (const worker of workers) {
      const ended = await worker.finished;
      expect(ended, ended.stderr).toMatchObject({ code: 0 });
      expect(ended.stdout).toContain("found the coordinator again");
    }
    const found = await readSteps(run);
    expect(found.map(({ step }) => step)).toEqual(Array.from({ length: Number(end) }, (_, i) => i + 1));
    expect(found.at(-1)?.ledger).toMatchObject({ duplicated: 0, lost: 0 });
  });

  test("a leader that was stopped finds that another leads, and does not touch the run", async () => {
    const cluster = await train({ steps, eval_every: 30 }, "leader stands still");
    const [old, next] = cluster.coordinators;
    await next.waitFor(/generation 1 -> 2 with 2 workers: all are back/);
    await next.waitFor(/step +\d+\//);
    old.child.kill("SIGCONT");
    const { code, stdout, stderr } = await old.finished;
    expect(code).toBe(1);
    // Whether a renewal or a write of its own tells it first.
    expect(stderr).toMatch(
      /^ringtune: (the lease of this coordinator has run out: it lasts 8 s and was renewed \d+\.\d s ago; )?the coordinator at \S+ \(pid \d+ on \S+\) leads the run now; this one stops and writes nothing more\n$/,
    );
    expect(stdout).not.toMatch(/done: /);
    await expectUndisturbed(cluster);
  });
});

import { readdir } from "node:fs/promises";
import { join } from "node:path";
import { expect, test } from "vitest";
import type { ChaosResult } from "../../coordinator/chaos/chaos.ts";
import { childrenOf, finish, smallRun, start } from "../support/cli.ts";

/** Far more steps than a test waits for: chaos stops the run when it has seen enough. */
const endless = { steps: 100_000, eval_every: 0, schedule: "constant" };
const quick = ["--set", "cluster.heartbeat_s=0.1", "--set", "checkpoint.every=10"];

test.each([
  ["", []],
  [", with gradients that travel while others are computed", ["train.overlap=on", "train.bucket_mb=0.02"]],
])(
  "a run under kills, stops, cuts and delays loses nothing, and has the samples and losses of one without%s",
  async (_, settings) => {
    const { config, folder } = await smallRun(endless);
    const { code, stdout, stderr } = await finish([
      ...["chaos", config, "--seed", "5", "--count", "10", "--reference", "--json", "--verbose", ...quick],
      ...["checkpoint.name=tried", ...settings].flatMap((setting) => ["--set", setting]),
    ]);
    expect({ code, stderr }, stdout).toMatchObject({ code: 0 });
    const result = JSON.parse(stdout) as ChaosResult;
    const fired = result.faults.filter(({ outcome }) => outcome.missed === undefined);
    expect(fired.length).toBe(10);
    expect(result).toMatchObject({ violations: [], survivorsRestarted: 0, checkpointsRestored: 0 });
    expect(result.samples).toMatchObject({ committed: result.steps * 12, lost: 0, duplicated: 0 });
    expect(result.reference).toMatchObject({ sameSamples: true });
    expect(result.reference!.worstLoss).toBeLessThan(1e-4);
    const kills = fired.filter(({ planned }) => planned.kind === "kill");
    expect(kills.length).toBeGreaterThan(0);
    expect(result.generations).toBeGreaterThan(kills.length);
    for (const { outcome } of kills) expect(outcome.recoveredMs).toBeGreaterThan(0);
    expect(stderr.match(/^fault \d+ {2}/gm)).toHaveLength(result.faults.length);
    const logs = await readdir(join(folder, "runs/tried.chaos"));
    expect(logs).toEqual(expect.arrayContaining(["coordinator.log", "faults.jsonl", "w0.log"]));
  },
  300_000,
);

test("Ctrl-C ends all processes of a chaos run, and a run that is too short is said", async () => {
  const { config, folder } = await smallRun(endless);
  const running = start([
    "chaos",
    config,
    "--faults",
    "slow",
    "--verbose",
    ...quick,
    "--set",
    "checkpoint.name=stopped",
  ]);
  await running.waitFor(/^fault 1 /m);
  const pids = await childrenOf(running.child.pid!);
  expect(pids.length).toBe(4);
  running.child.kill("SIGINT");
  expect(await running.finished).toMatchObject({
    code: 130,
    stderr: expect.stringMatching(/stopped by SIGINT\n$/) as string,
  });
  for (const pid of pids) expect(() => process.kill(pid, 0)).toThrow("ESRCH");

  const short = ["--count", "500", "--set", "train.steps=6", "--set", `checkpoint.dir=${join(folder, "short")}`];
  const { code, stderr } = await finish(["chaos", config, "--faults", "slow", ...quick, ...short]);
  expect({ code, stderr }).toMatchObject({ code: 2 });
  expect(stderr).toMatch(/^ringtune: the run was complete after \d of 500 faults: give it more steps/);
});

test("faults that there are not are named with those that there are", async () => {
  const { config } = await smallRun();
  expect(await finish(["chaos", config, "--faults", "kill,pauze"])).toMatchObject({
    code: 2,
    stderr:
      'ringtune: "pauze" is no fault: there are kill, pause, partition, slow, coordinator and disk; did you mean pause?\n',
  });
  const plan = await finish(["chaos", config, "--plan", "--count", "3", "--seed", "9"]);
  expect(plan).toMatchObject({ code: 0 });
  expect(plan.stdout).toMatch(/^(fault \d: .*\n){3}$/);
});

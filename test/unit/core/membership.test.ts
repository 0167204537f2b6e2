import { expect, test } from "vitest";
import { batchOf } from "../../../coordinator/core/job.ts";
import { shardsOf } from "../../../coordinator/core/shards.ts";
import { drive, job, kinds, running } from "../../support/core-drive.ts";

test("a death costs the uncommitted step only: the survivor gets all of its rows, with the weights it holds", () => {
  const run = running();
  run.reduced("w0");
  run.reduced("w1");
  run.reduced("w0");
  const effects = run.post({ kind: "left", id: "w1", reason: "its connection closed" });
  expect(kinds(effects)).toEqual(["form", "plan", "plan"]);
  expect(effects[0]).toMatchObject({ kind: "form", to: "w0", generation: 2, step: 1, source: { kind: "held" } });
  expect(run.reason).toMatch(/lost worker w1 \(rank 1, host node1, pid 7, .*\): its connection closed/);
  expect(effects.find((effect) => effect.kind === "plan")).toMatchObject({ step: 2, shard: { start: 8, rows: 8 } });
});

test("ends with the names of all that were lost when nobody is left", () => {
  const run = running();
  run.post({ kind: "left", id: "w0", reason: "killed" });
  const effects = run.post({ kind: "left", id: "w1", reason: "unplugged" });
  const ended = effects.find((effect) => effect.kind === "ended");
  expect(ended).toMatchObject({ outcome: { kind: "failed", code: "worker_lost" } });
  expect(JSON.stringify(ended)).toMatch(/w0.*killed.*w1.*unplugged/);
});

test("a worker that comes while others train is prepared, and enters when the step is committed", () => {
  const run = running();
  expect(run.join("w2")).toMatchObject([
    { kind: "welcome", to: "w2" },
    {
      kind: "prepare",
      to: "w2",
      localWorldSize: 3,
      batch: batchOf(job, 1),
      shard: shardsOf(batchOf(job, 1), [1, 1, 1])[2],
    },
  ]);
  run.reduced("w0");
  expect(kinds(run.reduced("w1"))).toEqual(["commit", "commit", "plan", "plan"]);
  run.post({ kind: "said", id: "w2", message: { kind: "prepared", value: { gpuUuid: "" } } });
  run.reduced("w0");
  const effects = run.reduced("w1");
  expect(kinds(effects.slice(0, 5))).toEqual(["commit", "commit", "form", "form", "form"]);
  expect(effects[4]).toMatchObject({ to: "w2", rank: 2, step: 2, source: { kind: "peer", root: 0, receivers: [2] } });
  // The others go on at once, and compute all of the step in which the newcomer receives its weights.
  const shards = effects.flatMap((effect) => (effect.kind === "plan" ? [[effect.step, effect.shard.rows]] : []));
  expect(shards).toEqual([...[4, 4, 0].map((rows) => [3, rows]), ...[2, 1, 1].map((rows) => [4, rows])]);
  expect(run.reason).toContain("generation 1 -> 2 with 3 workers: worker w2 (host node1) joins");
});

test("a newcomer that does not form its generation in time goes, not those that wait for it", () => {
  const run = running();
  run.join("w2");
  run.post({ kind: "said", id: "w2", message: { kind: "prepared", value: { gpuUuid: "" } } });
  run.reduced("w0");
  run.reduced("w1");
  run.nowMs = 1000;
  const effects = run.post({ kind: "tick" });
  expect(effects[0]).toMatchObject({ kind: "dismiss", to: "w2", reason: "did not form generation 2 within 1 s" });
  expect(run.state.members.map(({ id }) => id)).toEqual(["w0", "w1"]);
});

test("a worker that drains goes when its step is committed, and has applied it", () => {
  const run = running();
  run.post({ kind: "said", id: "w0", message: { kind: "leaving", value: { reason: "stopped by SIGTERM" } } });
  expect(run.reason).toBe("worker w0 drains (stopped by SIGTERM): it goes when step 1 is committed");
  run.reduced("w0");
  const effects = run.reduced("w1");
  expect(effects.map((effect) => ("to" in effect ? [effect.kind, effect.to] : []))).toEqual([
    ["commit", "w0"],
    ["commit", "w1"],
    ["finish", "w0"],
    ["form", "w1"],
    ["plan", "w1"],
    ["plan", "w1"],
  ]);
  expect(effects[2]).toMatchObject({ reason: "drained after step 1 (stopped by SIGTERM)", drained: true });
});

test("the last worker that drains takes the run with it, saved", () => {
  const run = running();
  for (const id of ["w0", "w1"]) run.reduced(id);
  run.post({ kind: "drain", id: "w0", reason: "asked to drain" });
  run.post({ kind: "drain", id: "w1", reason: "asked to drain" });
  expect(run.reason).toContain("worker w1 drains (asked to drain), and it is the last one");
  for (const id of ["w0", "w1"]) run.applied(id);
  run.formed("w0");
  expect(run.formed("w1")).toMatchObject([{ kind: "save", step: 1 }]);
});

test("scaling starts what is missing, drains the last ones, and refuses what can't be", () => {
  const run = running();
  expect(run.post({ kind: "scale", workers: 4 })).toEqual([{ kind: "launch", count: 2 }]);
  expect(run.post({ kind: "scale", workers: 1 })).toEqual([]);
  expect(run.state.members.map(({ status }) => status)).toEqual(["healthy", "draining"]);
  expect(run.state.wanted).toBe(1);
  const refused = (workers: number): unknown => run.post({ kind: "scale", workers })[0];
  expect(refused(0)).toMatchObject({
    kind: "refuse",
    reason: expect.stringMatching(/^0 workers can't train/) as string,
  });
  expect(refused(9)).toMatchObject({
    kind: "refuse",
    reason: expect.stringMatching(/^9 workers can't share train.global_batch 8/) as string,
  });
  const nobody = run.post({ kind: "drain", id: "w7", reason: "asked to drain" });
  expect(nobody).toEqual([{ kind: "refuse", reason: "there is no worker w7; there are w0, w1" }]);
});

test("says how many workers joined when the join timeout is over", () => {
  const run = drive();
  run.join("w0");
  run.nowMs = 999;
  expect(run.post({ kind: "tick" })).toEqual([]);
  run.nowMs = 1000;
  run.post({ kind: "tick" });
  expect(run.reason).toContain("1 of 2 workers joined within 1 s");
});

test("a failure that every worker would meet ends the run with its sentence", () => {
  const run = running();
  const value = { code: "checkpoint_invalid", message: "model.safetensors is cut short" };
  const effects = run.post({ kind: "said", id: "w0", message: { kind: "failed", value } });
  expect(effects.at(-1)).toMatchObject({ outcome: { kind: "failed", code: "checkpoint_invalid" } });
});

test("refuses a worker that would have no sequence to compute", () => {
  const run = running({ globalBatch: 2, totalSamples: 8 });
  expect(run.join("w2")).toMatchObject([{ kind: "dismiss", to: "w2" }]);
  expect(run.reason).toContain("the run has 2 workers and train.global_batch 2: another would have no sequence");
  expect(run.state.members.length).toBe(2);
});

const claimed =
  "worker w0 (pid 7) computes on GPU GPU-1 of host node1, and worker w2 (pid 7) claims it too; start one worker for each GPU, with CUDA_VISIBLE_DEVICES, or set cluster.share_devices";

test("of workers that claim one GPU the first takes part, and those of a CPU share it", () => {
  const run = drive({ workers: 3 });
  for (const id of ["w0", "w1", "w2"]) run.join(id);
  run.formed("w0", { gpuUuid: "GPU-1" });
  run.formed("w1", { gpuUuid: "GPU-2" });
  const effects = run.formed("w2", { gpuUuid: "GPU-1" });
  expect(effects[0]).toEqual({ kind: "dismiss", to: "w2", code: "no_device", reason: claimed });
  expect(run.reason).toContain(claimed);
  expect(kinds(effects.slice(1, 3))).toEqual(["form", "form"]);
  for (const id of ["w0", "w1"]) run.formed(id, { gpuUuid: id === "w0" ? "GPU-1" : "GPU-2" });
  expect(run.state).toMatchObject({ phase: "running", members: [{ id: "w0" }, { id: "w1" }] });
  const cpus = drive({ workers: 2 });
  for (const id of ["w0", "w1"]) cpus.join(id);
  for (const id of ["w0", "w1"]) cpus.formed(id);
  expect(cpus.reason).toContain("generation 1 is formed");
  expect(cpus.reason).not.toContain("GPU");
});

test("a newcomer that claims the GPU of another is refused before anybody waits for it, unless devices are shared", () => {
  const onOneGpu = (sharesDevices: boolean) => {
    const run = drive({ sharesDevices });
    run.join("w0");
    run.join("w1");
    run.formed("w0", { gpuUuid: "GPU-1" });
    run.formed("w1", { gpuUuid: "GPU-2" });
    run.join("w2");
    return [
      run,
      run.post({ kind: "said", id: "w2", message: { kind: "prepared", value: { gpuUuid: "GPU-1" } } }),
    ] as const;
  };
  const [refusing, effects] = onOneGpu(false);
  expect(effects).toEqual([{ kind: "dismiss", to: "w2", code: "no_device", reason: claimed }]);
  expect(refusing.state).toMatchObject({ phase: "running", joining: [] });
  const [sharing] = onOneGpu(true);
  expect(sharing.reason).toBe("worker w2 is ready and joins after step 1");
});

test("before anybody has weights, workers that are lost or call again only begin anew", () => {
  const run = drive({ workers: 1, recoverMs: 60_000 });
  run.join("w0");
  expect(run.state.phase).toBe("forming");
  // Its stream is known to be gone, or not.
  run.post({ kind: "left", id: "w0", reason: "its connection closed" });
  expect(run.reason).toMatch(
    /^lost worker w0 .*: its connection closed: 0 of 1 workers are there, waiting up to 1 s for the others$/,
  );
  expect(kinds(run.comeBack("w0", { whole: false, generation: 1, step: 0 }))).toEqual(["welcome", "form"]);
  expect(kinds(run.comeBack("w0", { whole: false, generation: 2, step: 0 }))).toEqual(["welcome", "form"]);
  expect(run.state).toMatchObject({ phase: "forming", generation: 3, members: [{ id: "w0" }] });
  expect(kinds(run.formed("w0"))).toContain("plan");
});

test("who came while the first generation was formed takes the place of those that were lost", () => {
  const run = drive({ workers: 1, recoverMs: 60_000 });
  run.join("w0");
  run.join("w1");
  expect(kinds(run.post({ kind: "left", id: "w0", reason: "killed" }))).toEqual(["form"]);
  expect(run.state).toMatchObject({ phase: "forming", members: [{ id: "w1" }], joining: [] });
});

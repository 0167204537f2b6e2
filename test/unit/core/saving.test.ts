import { expect, test } from "vitest";
import type { Effect } from "../../../coordinator/core/state.ts";
import { kinds, running } from "../../support/core-drive.ts";

/** Both workers have reduced and applied the step. */
function commit(run: ReturnType<typeof running>): void {
  for (const id of ["w0", "w1"]) run.reduced(id);
  for (const id of ["w0", "w1"]) run.applied(id);
}

const savesIn = (effects: readonly Effect[]) => effects.filter((effect) => effect.kind === "save");

test("a checkpoint in parts is published when the last part is on disk, and counts when the run directory has it", () => {
  const run = running({ writers: "all", checkpointEvery: 1 });
  commit(run);
  expect(run.wrote("w1", 1)).toEqual([]);
  expect(run.reason).toBe("w1 wrote part 2 of 2 of the checkpoint of step 1");
  expect(run.wrote("w0", 1)).toMatchObject([
    { kind: "publish", step: 1, files: [{ name: "of w0" }, { name: "of w1" }], facts: "{}" },
  ]);
  expect(run.state.saved).toBe(0);
  run.published(1);
  expect(run.state.saved).toBe(1);
});

test("a part that is said twice, or by whom it is not asked of, changes nothing", () => {
  const run = running({ writers: "one", checkpointEvery: 1 });
  commit(run);
  expect(run.wrote("w1", 1)).toEqual([]);
  expect(kinds(run.wrote("w0", 1))).toEqual(["publish"]);
  expect(run.wrote("w0", 1)).toEqual([]);
});

test("a checkpoint whose writer dies is abandoned, and another is made of what is committed then", () => {
  const run = running({ writers: "all", checkpointEvery: 2 });
  commit(run);
  commit(run);
  run.wrote("w0", 2);
  const effects = run.post({ kind: "left", id: "w1", reason: "its connection closed" });
  expect(effects).toContainEqual(expect.objectContaining({ kind: "discard", step: 2 }));
  expect(run.reason).toContain("the checkpoint of step 2 is abandoned, its writer is gone");
  expect(savesIn(effects)[0]).toMatchObject({ to: "w0", step: 2, part: 0, parts: 1 });
  // It counts when the weights that were copied have been compared.
  expect(run.wrote("w0", 2)).toEqual([]);
  expect(kinds(run.formed("w0"))).toContain("publish");
  run.published(2);
  expect(run.state.saved).toBe(2);
});

test("a disk that does not take a checkpoint costs that one alone", () => {
  const run = running({ checkpointEvery: 1 });
  commit(run);
  const effects = run.couldNotWrite("w0", 1);
  expect(effects).toMatchObject([
    { kind: "discard", step: 1, failure: { reason: "the disk is full", neededBytes: 9 } },
  ]);
  expect(run.reason).toBe("the disk is full; there is none yet; training goes on, and the next is due after step 2");
  commit(run);
  run.wrote("w0", 2);
  run.published(2);
  expect(run.state.saved).toBe(2);
});

test("the last checkpoint is tried until its time is over, and then the run fails with the cause", () => {
  const run = running({ checkpointEvery: 0, totalSamples: 8, saveRetryMs: 3000 });
  commit(run);
  expect(kinds(run.couldNotWrite("w0", 1))).toEqual(["discard"]);
  expect(run.reason).toBe("the disk is full; there is none yet; trying again for 3 s");
  run.nowMs = 2000;
  expect(savesIn(run.tick())).toMatchObject([{ to: "w0", step: 1 }]);
  run.nowMs = 3000;
  expect(run.couldNotWrite("w0", 1).at(-1)).toMatchObject({
    kind: "ended",
    outcome: {
      code: "disk_failed",
      reason: expect.stringContaining("could not be written for 3 s: the disk is full") as string,
    },
  });
});

test("a step that is not finite ends the run when the good weights before it are written, not sooner", () => {
  const run = running({ checkpointEvery: 1 });
  commit(run);
  run.reduced("w0", { lossSum: NaN });
  expect(kinds(run.reduced("w1", { lossSum: NaN }))).toEqual([]);
  expect(run.reason).toContain("the run ends when the checkpoint under way is written");
  expect(kinds(run.wrote("w0", 1))).toEqual(["publish"]);
  expect(run.published(1).at(-1)).toMatchObject({ kind: "ended", outcome: { code: "not_finite", step: 1 } });
  expect(run.state.saved).toBe(1);
});

test("or when the disk does not take them", () => {
  const run = running({ checkpointEvery: 1 });
  commit(run);
  for (const id of ["w0", "w1"]) run.reduced(id, { lossSum: NaN });
  expect(run.couldNotWrite("w0", 1).at(-1)).toMatchObject({ kind: "ended", outcome: { code: "not_finite" } });
});

import { mkdir, symlink, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { expect, test } from "vitest";
import { checkRun, readFinal } from "../../../coordinator/chaos/check.ts";
import { digestOfCheckpoint } from "../../../coordinator/chaos/checkpoint-digest.ts";
import { temporaryFolder } from "../../support/cli.ts";

interface Step {
  readonly step: number;
  readonly loss?: number;
  readonly duplicated?: number;
}

/** Tensors of bytes. */
async function writeSafetensors(path: string, tensors: Readonly<Record<string, string>>): Promise<void> {
  let end = 0;
  const header = Object.fromEntries(
    Object.entries(tensors).map(([name, { length }]) => [
      name,
      { dtype: "U8", shape: [length], data_offsets: [end, (end += length)] },
    ]),
  );
  const text = Buffer.from(JSON.stringify(header));
  const size = Buffer.alloc(8);
  size.writeBigUInt64LE(BigInt(text.length));
  await writeFile(path, Buffer.concat([size, text, Buffer.from(Object.values(tensors).join(""))]));
}

/** A run of steps of four samples each, with a checkpoint of the last. */
async function writeRun(steps: readonly Step[], weights = "weights"): Promise<string> {
  const run = await temporaryFolder();
  const last = steps.at(-1)!.step;
  const checkpoint = join(run, `checkpoints/step-${String(last).padStart(8, "0")}`);
  await mkdir(checkpoint, { recursive: true });
  await writeSafetensors(join(checkpoint, "model.safetensors"), { a: weights });
  await writeFile(join(checkpoint, "state.json"), String(Math.random()));
  await symlink(checkpoint, join(run, "latest"));
  const lines = steps.map(({ step, loss = 1 / step, duplicated = 0 }) =>
    JSON.stringify({
      ...{ kind: "step", step, loss, samples: 4 },
      ledger: { leased: 4 * step, committed: 4 * step, requeued: 0, duplicated, lost: 0, digest: `d${step}` },
    }),
  );
  await writeFile(join(run, "metrics.jsonl"), `${lines.join("\n")}\n`);
  return run;
}

const quiet = { repeated: [], restored: [], endedAlone: [], reference: undefined, identical: true };

test("a run that lost nothing has no violations", async () => {
  const run = await writeRun([{ step: 1 }, { step: 2 }, { step: 3 }]);
  const reference = await readFinal(await writeRun([{ step: 1 }, { step: 2 }, { step: 3 }]));
  expect(await checkRun({ ...quiet, run, reference })).toMatchObject({
    steps: 3,
    survivorsRestarted: 0,
    checkpointsRestored: 0,
    reference: { sameWeights: true, sameSamples: true, worstLoss: 0 },
    violations: [],
  });
});

test("a step that is missing, duplicated samples and a survivor that ended are said", async () => {
  const run = await writeRun([{ step: 1 }, { step: 3, duplicated: 2 }]);
  const { violations } = await checkRun({
    ...quiet,
    run,
    repeated: [3],
    restored: ["back to 1"],
    endedAlone: ["worker w1 ended"],
  });
  expect(violations).toEqual([
    "worker w1 ended though nobody had killed it",
    "a checkpoint was restored: back to 1",
    "line 2 of the steps is step 3",
    "1 steps were committed again, the first is 3",
    "12 samples are committed, the steps have 8",
    "2 samples were trained on twice",
  ]);
});

test("other weights than without faults are a violation where they must be equal, other samples always", async () => {
  const run = await writeRun([{ step: 1 }, { step: 2, loss: 0.5 }]);
  const other = await readFinal(await writeRun([{ step: 1 }, { step: 2, loss: 0.25 }], "others"));
  const free = await checkRun({ ...quiet, run, reference: other, identical: false });
  expect(free).toMatchObject({ reference: { sameWeights: false, worstLoss: 0.5 }, violations: [] });
  const strict = await checkRun({ ...quiet, run, reference: { ...other, ledger: undefined } });
  expect(strict.violations).toEqual([
    "the samples are not those of the run without faults",
    expect.stringMatching(/^the weights of step 2 have digest [0-9a-f]{16}, without faults [0-9a-f]{16}$/),
  ]);
});

test("a checkpoint has the same digest however its tensors are divided into files", async () => {
  const [one, two, other] = [await temporaryFolder(), await temporaryFolder(), await temporaryFolder()];
  await writeSafetensors(join(one, "model.safetensors"), { a: "1", b: "22", c: "" });
  await writeSafetensors(join(one, "optimizer.safetensors"), { a: "3" });
  await writeSafetensors(join(two, "model-00001-of-00002.safetensors"), { c: "", b: "22" });
  await writeSafetensors(join(two, "model-00002-of-00002.safetensors"), { a: "1" });
  await writeSafetensors(join(two, "optimizer-00001-of-00001.safetensors"), { a: "3" });
  await writeSafetensors(join(other, "model.safetensors"), { a: "3", b: "22", c: "" });
  await writeSafetensors(join(other, "optimizer.safetensors"), { a: "1" });
  expect(await digestOfCheckpoint(two)).toBe(await digestOfCheckpoint(one));
  expect(await digestOfCheckpoint(other)).not.toBe(await digestOfCheckpoint(one));
});

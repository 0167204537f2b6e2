// A run whose numbers stop being finite, as real processes: it stops before the step, says where, and what is saved is good.

import { readlink } from "node:fs/promises";
import { basename, join } from "node:path";
import { expect, test } from "vitest";
import { finish, readSteps, smallRun } from "../support/cli.ts";
import { sentenceOf } from "../support/refusal.ts";

test("a run that diverges stops before the step, with its samples and the last good checkpoint, which is resumed from", async () => {
  const small = await smallRun({ steps: 6, eval_every: 0, warmup_steps: 3, global_batch: 4, microbatch: 2 });
  const run = join(small.folder, "runs", "wild");
  const settings = ["--set", "checkpoint.name=wild", "--set", "checkpoint.every=1", "--workers", "2"];
  const result = await finish(["train", small.config, ...settings, "--set", "train.learning_rate=1e30"]);
  // Step 1 has learning rate 0; step 2 makes the weights enormous, and step 3 finds out.
  const sentence = sentenceOf(result, 3);
  expect(sentence).toMatch(/^step 3 is not committed: worker w\d \(rank \d, .*\) has loss NaN over \d+ tokens/);
  expect(sentence).toMatch(
    /\(NaN or infinite: \d+ of \d+ elements of transformer\.\S+ and some of \d+ other tensors\)/,
  );
  expect(sentence).toMatch(/\(sample 8: \S*data\.jsonl:\d+/);
  expect(sentence).toMatch(
    /; the last good checkpoint is that of step 2, go on from it with: ringtune train --resume /,
  );
  expect((await readSteps(run)).map(({ step }) => step)).toEqual([1, 2]);
  expect(basename(await readlink(join(run, "latest")))).toBe("step-00000002");

  // It loads again, and finds the same.
  const again = sentenceOf(await finish(["train", "--resume", run]), 3);
  expect(again).toMatch(/^step 3 is not committed: .*the last good checkpoint is that of step 2/);
});

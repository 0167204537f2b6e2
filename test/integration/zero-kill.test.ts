// SIGKILL to a process in the middle of its update of memory that it shares: what it leaves is finished by another, to the bit.

import { fork } from "node:child_process";
import { once } from "node:events";
import { join } from "node:path";
import { expect, onTestFinished, test } from "vitest";
import { packageRoot } from "../../common/package-root.ts";
import { createRandom } from "../../common/random.ts";
import { createOptimizer } from "../../worker/train/optimizer.ts";
import { blockElements, readShare, updateShare } from "../../worker/train/zero/journal.ts";
import { bigLayout, createUpdater, gradientOf, shareOf, updateOptions } from "../support/zero-updater.ts";

const script = join(packageRoot, "dist/test/support/zero-updater.js");
const deaths = 8;

test("a share that its process was killed in is finished by another, wherever it was", async () => {
  const random = createRandom(3, "deaths");
  const settings = { name: "adamw", beta1: 0.9, beta2: 0.999, epsilon: 1e-8, weight_decay: 0.1 } as const;
  const reference = createOptimizer(settings, bigLayout);
  const expected = [new Float32Array(bigLayout.size), ...Object.values(reference.state().buffers)];
  const { memory, optimizer } = createUpdater();
  const room = memory.arrays.map((array) => new Float32Array(array.length));
  const words = 2 * Math.ceil(bigLayout.size / 2 / blockElements);
  let within = 0;
  for (let round = 1; round <= deaths; round++) {
    // A new region for every generation, of what the one before had.
    const region = memory.create(2);
    room.forEach((array, i) => region.fill(i, 0, array));
    region.attach();
    const child = fork(script, ["update", JSON.stringify(region.file)]);
    onTestFinished(() => void child.kill("SIGKILL"));
    await once(child, "message");
    const gradient = gradientOf(round);
    const at = optimizer.begin(updateOptions);
    const [own, other] = [shareOf(memory, region.places, 0), shareOf(memory, region.places, 1)];
    child.send(round);
    await once(child, "message");
    const dueWord = random.integer(words);
    const wordNow = (): number => Number(Atomics.load(other.progress, 0) & 0xffff_ffffn);
    while (wordNow() < dueWord);
    child.kill("SIGKILL");
    updateShare(own, round, (block) =>
      optimizer.update([memory.arrays[0]!, gradient, ...memory.arrays.slice(1)], at, block),
    );
    if (child.exitCode === null && child.signalCode === null) await once(child, "exit");
    if (wordNow() < words) within += 1;
    memory.arrays.forEach((array, i) => room[i]!.set(array.subarray(own.range.begin, own.range.end), own.range.begin));
    readShare(
      other,
      round,
      ([parameters, ...state], { begin, end }) =>
        optimizer.update([parameters!, gradient.subarray(begin, end), ...state], at, { begin, end }, begin),
      (block, { begin }) => block.forEach((array, i) => room[i]!.set(array, begin)),
    );
    region.release();
    reference.step(expected[0]!, gradient, updateOptions);
    for (const [i, array] of room.entries()) {
      expect(Buffer.compare(Buffer.from(array.buffer), Buffer.from(expected[i]!.buffer)), `round ${round}`).toBe(0);
    }
  }
  expect(within).toBeGreaterThan(0);
}, 60_000);

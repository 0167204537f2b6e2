// The journal of a share: whatever moment a rank dies at, between any two writes to the memory that it shares or in the middle of
// one, another that has the gradient ends with the bits of an update that nothing happened to.

import { expect, onTestFinished, test, vi } from "vitest";
import { createRandom } from "../../../common/random.ts";
import { createLayout } from "../../../worker/model/parameters.ts";
import { createOptimizer, type OptimizerSettings } from "../../../worker/train/optimizer.ts";
import { blockElements, readShare, shadowLength, updateShare, type Share } from "../../../worker/train/zero/journal.ts";

const decay = { weight_decay: 0.1 };
const settings: readonly OptimizerSettings[] = [
  { name: "adamw", beta1: 0.9, beta2: 0.99, epsilon: 1e-8, ...decay },
  { name: "adam", beta1: 0.9, beta2: 0.99, epsilon: 1e-8, ...decay },
  { name: "sgd", momentum: 0.9, nesterov: false, ...decay },
  { name: "sgd", momentum: 0, nesterov: false, ...decay },
  { name: "rmsprop", alpha: 0.99, epsilon: 1e-8, momentum: 0.9, ...decay },
];

/** Three blocks, of which the last is short, between elements of others; groups that decay and that don't within a block. */
const range = { begin: 48, end: 48 + 2 * blockElements + 100 };
const layout = createLayout([
  { name: "a", shape: [100, 7] },
  { name: "b", shape: [2000] },
  { name: "c", shape: [range.end - 2000, 1] },
]);

function noise(seed: number, label: string): Float32Array<ArrayBuffer> {
  const random = createRandom(seed, label);
  return Float32Array.from({ length: layout.size }, () => random.next() - 0.5);
}

/** Memory that tells before, in the middle and after whatever is written to it. */
class Watched extends Float32Array<ArrayBuffer> {
  static wrote: () => void = () => undefined;

  override set(values: ArrayLike<number>, offset = 0): void {
    Watched.wrote();
    super.set(Array.prototype.slice.call(values, 0, values.length >> 1), offset);
    Watched.wrote();
    super.set(values, offset);
    Watched.wrote();
  }
}

function watch(): void {
  const store = Atomics.store.bind(Atomics);
  vi.spyOn(Atomics, "store").mockImplementation(((array: BigInt64Array, index: number, value: bigint) => {
    Watched.wrote();
    const stored = store(array, index, value);
    Watched.wrote();
    return stored;
  }) as never);
  onTestFinished(() => {
    Watched.wrote = () => undefined;
    vi.restoreAllMocks();
  });
}

test.each(
  settings.map((each) => [`${each.name}, momentum ${"momentum" in each ? each.momentum : "-"}`, each] as const),
)("%s: a death at any write leaves what another finishes to the bit", (_, given) => {
  const gradients = [noise(1, "gradients"), noise(2, "gradients")];
  const options = { learningRate: 0.01, clipFactor: 0.7 };
  const reference = createOptimizer(given, layout);
  const expected = [noise(0, "weights"), ...Object.values(reference.state().buffers)];
  for (const gradient of gradients) reference.step(expected[0]!, gradient, options);

  const optimizer = createOptimizer(given, layout);
  const finisher = createOptimizer(given, layout);
  const count = expected.length;
  const arrays = Array.from({ length: count }, () => new Watched(new ArrayBuffer(4 * layout.size)));
  arrays[0]!.set(noise(0, "weights"));
  const share: Share = {
    ...{ range, arrays },
    shadow: new Watched(new ArrayBuffer(4 * shadowLength(count))),
    progress: new BigInt64Array(1),
  };
  // Elements of other shares, in one go.
  const others = [
    { begin: 0, end: range.begin },
    { begin: range.end, end: layout.size },
  ];
  let deaths = 0;
  for (const [index, gradient] of gradients.entries()) {
    const at = optimizer.begin(options);
    const update = (block: { begin: number; end: number }): void =>
      optimizer.update([arrays[0]!, gradient, ...arrays.slice(1)], at, block);
    others.forEach(update);
    const round = index + 1;
    if (round === 1) {
      updateShare(share, round, update);
      continue;
    }
    watch();
    const places = new Set<string>();
    Watched.wrote = () => {
      const { wrote } = Watched;
      Watched.wrote = () => undefined;
      deaths += 1;
      places.add(String(share.progress[0]));
      const found = arrays.map((array) => Float32Array.from(array));
      const finish = (block: readonly Float32Array[], each: { begin: number; end: number }): void =>
        finisher.update([block[0]!, gradient.subarray(each.begin, each.end), ...block.slice(1)], at, each, each.begin);
      readShare(share, round, finish, (block, { begin }) => block.forEach((copy, i) => found[i]!.set(copy, begin)));
      found.forEach((array, i) => {
        if (Buffer.compare(Buffer.from(array.buffer), Buffer.from(expected[i]!.buffer)) === 0) return;
        const element = array.findIndex((value, at) => value !== expected[i]![at]);
        throw new Error(
          `death ${deaths}: array ${i} has ${array[element]} at ${element}, not ${expected[i]![element]}`,
        );
      });
      Watched.wrote = wrote;
    };
    updateShare(share, round, update);
    // Before the first block, and while it is in the shadow and done, and so on.
    expect(places.size).toBe(7);
  }
  // Per block: two words, a shadow of each array and what the kernel writes to each, in two groups at least.
  expect(deaths).toBeGreaterThan(3 * (4 + 2 * 3 * count));
  expect(arrays.map((array) => Float32Array.from(array))).toEqual(expected);
});

test("a rank that was only stopped, and wakes up while its block is read, does not spoil it", () => {
  const length = 2 * blockElements;
  const wakesAt = 5; // of the looks at the array, one a block
  const add = (array: Float32Array): void => array.forEach((value, i) => (array[i] = value + 1));
  let looks = 0;
  class Sleeper extends Float32Array<ArrayBuffer> {
    override subarray(begin?: number, end?: number): Float32Array<ArrayBuffer> {
      if (++looks === wakesAt) wake();
      return Float32Array.prototype.subarray.call(
        new Float32Array(this.buffer),
        begin,
        end,
      ) as Float32Array<ArrayBuffer>;
    }
  }
  const array = new Sleeper(new ArrayBuffer(4 * length));
  const share: Share = {
    ...{ range: { begin: 0, end: length }, arrays: [array] },
    shadow: new Float32Array(shadowLength(1)),
    progress: new BigInt64Array(1),
  };
  const plain = new Float32Array(array.buffer);
  updateShare(share, 1, ({ begin, end }) => add(plain.subarray(begin, end)));
  // Comes to the middle of the first block.
  const wake = (): void => {
    const halfway = new Error("half a block is done");
    const update = (): never => {
      add(plain.subarray(0, blockElements / 2));
      throw halfway;
    };
    expect(() => updateShare(share, 2, update)).toThrow(halfway);
  };
  looks = wakesAt - 1;
  const read: number[] = [];
  readShare(
    share,
    2,
    ([block]) => add(block!),
    ([block]) => void read.push(...block!),
  );
  expect(looks).toBeGreaterThan(wakesAt);
  expect(read.length).toBe(length);
  expect(new Set(read)).toEqual(new Set([2]));
});

// All 65,536 words of both types against the definitions: a word is its own nearest number, and what lies between two
// neighbours goes to the nearer, from the middle to the even one.

import { describe, expect, test } from "vitest";
import { brainOfFloat, floatOfBrain, floatOfHalf, halfOfFloat } from "../../../worker/model/half-precision.ts";

const types = [
  { name: "float16", toFloat: floatOfHalf, ofFloat: halfOfFloat, infinity: 0x7c00, largest: 65504 },
  {
    name: "bfloat16",
    toFloat: floatOfBrain,
    ofFloat: brainOfFloat,
    infinity: 0x7f80,
    largest: (2 - 2 ** -7) * 2 ** 127,
  },
];

/** The float32 next to `value`, away from 0 for 1, towards it for -1. */
function next(value: number, direction: 1 | -1): number {
  const float = Float32Array.of(value);
  const bits = new Uint32Array(float.buffer);
  bits[0]! += direction;
  return float[0]!;
}

describe.each(types)("$name", ({ toFloat, ofFloat, infinity, largest }) => {
  test("every number is itself again, with its sign", () => {
    for (let word = 0; word <= infinity; word++) {
      if (ofFloat(toFloat(word)) !== word) expect(ofFloat(toFloat(word)), `word ${word}`).toBe(word);
      const negative = word | 0x8000;
      if (ofFloat(toFloat(negative)) !== negative) expect(ofFloat(toFloat(negative))).toBe(negative);
    }
    expect(toFloat(infinity - 1)).toBe(largest);
    expect(toFloat(ofFloat(NaN))).toBeNaN();
  });

  test("between two numbers the nearer is taken, and the even one in the middle", () => {
    for (let word = 0; word < infinity - 1; word++) {
      const middle = Math.fround((toFloat(word) + toFloat(word + 1)) / 2);
      const found = [ofFloat(next(middle, -1)), ofFloat(middle), ofFloat(next(middle, 1))];
      const expected = [word, word % 2 === 0 ? word : word + 1, word + 1];
      // The very smallest of bfloat16 are the numbers next to each other of float32's subnormal ones, too.
      if (found.join() !== expected.join()) expect(found, `after word ${word}`).toEqual(expected);
    }
    expect(ofFloat(next(toFloat(infinity - 2) + (3 * (largest - toFloat(infinity - 2))) / 2, -1))).toBe(infinity - 1);
  });
});

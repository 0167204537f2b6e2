// Numbers of 16 bits as safetensors stores them, to float32 and back, rounded to nearest with ties to even as PyTorch
// does it. One number at a time; files are in safetensors.ts.

const bits = new Uint32Array(1);
const float = new Float32Array(bits.buffer);

/** Every binary16 as a float32: a table, because powers are slow. */
const halves = Float32Array.from({ length: 0x1_0000 }, (_, half) => {
  const sign = half & 0x8000 ? -1 : 1;
  const exponent = (half >> 10) & 0x1f;
  const fraction = half & 0x3ff;
  if (exponent === 0) return sign * fraction * 2 ** -24;
  if (exponent === 31) return fraction === 0 ? sign * Infinity : NaN;
  return sign * (1024 + fraction) * 2 ** (exponent - 25);
});

/** IEEE 754 binary16 to float32, exactly. */
export function floatOfHalf(half: number): number {
  return halves[half]!;
}

/** The nearest binary16; infinite from 65520 on. */
export function halfOfFloat(value: number): number {
  float[0] = value;
  const sign = (bits[0]! >>> 16) & 0x8000;
  const magnitude = bits[0]! & 0x7fff_ffff;
  if (magnitude > 0x7f80_0000) return sign | 0x7e00; // NaN
  if (magnitude >= 0x4780_0000) return sign | 0x7c00; // 65536 and more
  // 13 bits of fraction are dropped; a carry runs into the exponent, and from 65504 to infinity, as it must.
  if (magnitude >= 0x3880_0000) return sign | nearest(magnitude - 0x3800_0000, 13);
  const units = Math.abs(float[0]) * 2 ** 24; // below 2^-14 the numbers are whole multiples of 2^-24
  const below = Math.floor(units);
  const rest = units - below;
  return sign | (rest > 0.5 || (rest === 0.5 && below % 2 === 1) ? below + 1 : below);
}

/** bfloat16, the upper half of a float32, to float32. */
export function floatOfBrain(brain: number): number {
  bits[0] = brain << 16;
  return float[0]!;
}

/** The nearest bfloat16; infinite for what is nearer to it than to the largest. */
export function brainOfFloat(value: number): number {
  float[0] = value;
  if ((bits[0]! & 0x7fff_ffff) > 0x7f80_0000) return 0x7fc0; // NaN
  return ((bits[0]! >>> 16) & 0x8000) | nearest(bits[0]! & 0x7fff_ffff, 16);
}

/** `word` (31 bits) without its lowest `count` bits, rounded to nearest, ties to even. */
function nearest(word: number, count: number): number {
  return (word + (1 << (count - 1)) - 1 + ((word >>> count) & 1)) >>> count;
}

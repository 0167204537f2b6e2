// How a thread knows that another has written gradients, while that one is inside of ONNX Runtime and can say nothing: the
// graph copies the first element of every tensor of a bucket to a place of its own after all of them are written
// (GraphBuilder.signal). Before the run the place holds what no computation leaves there.

/** A signalling NaN: arithmetic only makes quiet ones. Gradients that hold it all the same are just found late. */
const absent = 0x7fa5_5a5a;

/** Nothing is there yet. */
export function clear(signal: Float32Array): void {
  bitsOf(signal).fill(absent);
}

/** Whether all of the signal's tensors have been written since it was cleared. */
export function isThere(signal: Float32Array): boolean {
  const bits = bitsOf(signal);
  for (let i = 0; i < bits.length; i++) if (Atomics.load(bits, i) === absent) return false;
  return true;
}

function bitsOf({ buffer, byteOffset, length }: Float32Array): Int32Array {
  return new Int32Array(buffer, byteOffset, length);
}

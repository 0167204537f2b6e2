// The one arithmetic operation of the ring: float32 bytes added into float32 bytes. 4 lanes at a time in a WebAssembly
// module of 88 bytes, since scalar JavaScript takes three times as long and the core is shared with compute.
// Measured on one core of the development machine, 256 KiB segments into 50 MB: 3.7 ns a float in JavaScript, 0.9 here.

/** Bytes that are summed at once; both operands fit into the first-level cache. */
const blockBytes = 16 * 1024;

// (module
//   (memory (export "m") 1)
//   (func (export "add") (param $target i32) (param $addend i32) (param $end i32)
//     (loop $next
//       (v128.store (local.get $target) (f32x4.add (v128.load (local.get $target)) (v128.load (local.get $addend))))
//       (local.set $addend (i32.add (local.get $addend) (i32.const 16)))
//       (br_if $next (i32.lt_u (local.tee $target (i32.add (local.get $target) (i32.const 16))) (local.get $end))))))
// prettier-ignore
const wasm = new Uint8Array([
  0x00, 0x61, 0x73, 0x6d, 0x01, 0x00, 0x00, 0x00,
  0x01, 0x07, 0x01, 0x60, 0x03, 0x7f, 0x7f, 0x7f, 0x00, // types: (i32, i32, i32) -> ()
  0x03, 0x02, 0x01, 0x00, // functions
  0x05, 0x03, 0x01, 0x00, 0x01, // memory: 1 page
  0x07, 0x0b, 0x02, 0x01, 0x6d, 0x02, 0x00, 0x03, 0x61, 0x64, 0x64, 0x00, 0x00, // exports: "m", "add"
  0x0a, 0x2f, 0x01, 0x2d, 0x00, // code
  0x03, 0x40, // loop
  0x20, 0x00, 0x20, 0x00, 0xfd, 0x00, 0x04, 0x00, 0x20, 0x01, 0xfd, 0x00, 0x04, 0x00, // target, load target, load addend
  0xfd, 0xe4, 0x01, 0xfd, 0x0b, 0x04, 0x00, // f32x4.add, store
  0x20, 0x01, 0x41, 0x10, 0x6a, 0x21, 0x01, // addend += 16
  0x20, 0x00, 0x41, 0x10, 0x6a, 0x22, 0x00, 0x20, 0x02, 0x49, 0x0d, 0x00, // target += 16; again if below end
  0x0b, 0x0b,
]);

// The compiler's ES2023 library does not know WebAssembly; Node.js does.
declare const WebAssembly: {
  readonly Module: new (bytes: Uint8Array) => object;
  readonly Instance: new (module: object) => { readonly exports: unknown };
};

const { m, add } = new WebAssembly.Instance(new WebAssembly.Module(wasm)).exports as {
  m: { readonly buffer: ArrayBuffer };
  add: (target: number, addend: number, end: number) => void;
};
const sums = new Uint8Array(m.buffer, 0, blockBytes);
const addends = new Uint8Array(m.buffer, blockBytes, blockBytes);

/**
 * Adds the float32 values in `addend` to those at `offset` bytes of `target`, in place. Any alignment.
 * `addend.byteLength` is a multiple of 4.
 */
export function addFloats(target: Uint8Array, offset: number, addend: Uint8Array): void {
  for (let start = 0; start < addend.byteLength; start += blockBytes) {
    const length = Math.min(blockBytes, addend.byteLength - start);
    const part = target.subarray(offset + start, offset + start + length);
    sums.set(part);
    addends.set(length === addend.byteLength ? addend : addend.subarray(start, start + length));
    add(0, blockBytes, length);
    part.set(length === blockBytes ? sums : sums.subarray(0, length));
  }
}

// A buffer that can be shared: WebAssembly memory whose first pages are this rank's and whose rest is a window, into which
// pages of the other ranks' buffers are mapped. So one SIMD loop reads and writes the buffers of all ranks where they are.
//
//     0            sizeBytes                            the window holds, of every other rank, the part that this
//     +------------+---------------------+              rank is in charge of: together no more than a buffer and
//     | own buffer | window              |              a page or two for each, so it never has to hold more
//     +------------+---------------------+
//
// WebAssembly can't address what it didn't allocate; but where its memory lies is known to the operating system, which puts
// other pages there when it is asked to (mmap with MAP_FIXED). The engine sees an ordinary memory of fixed size.

import { createMemory, type WasmMemory } from "../../simd/assembler.ts";
import { compileSum, registerMemory, scratchBytes, type SumType, type VectorSum } from "../../simd/sum.ts";
import { pageBytes, type Libc } from "./libc.ts";

/** Room for pages that are only partly a rank's own: 1 MiB is enough for 128 ranks. */
const windowSlackBytes = 1024 * 1024;

export interface Region {
  /** Of the own buffer, a multiple of the page size. */
  readonly sizeBytes: number;
  /** Where the own buffer lies in this rank's file, and in every other's. */
  readonly fileOffset: number;
  /** Own buffer and window. */
  readonly bytes: Uint8Array;
  /** Pages of a file are this rank's own. */
  readonly attached: boolean;
  /** Maps this rank's own pages, shared, or zeros of this process alone. The window is emptied. */
  attach(file: number | undefined): void;
  /** Address in `bytes` of byte `begin` of the buffer of another rank, up to `end`; mapped at the first use. */
  window(rank: number, file: number, begin: number, end: number): number;
  /** The sum of `count` operands into those of the indices `targets`; compiled once. */
  sum(type: SumType, count: number, targets: readonly number[]): VectorSum;
}

/** Throws a RangeError if there is no address space for it: above 2 GiB. */
export function createRegion(libc: Libc, wantedBytes: number, fileOffset: number): Region {
  const sizeBytes = roundUp(Math.max(wantedBytes, 1));
  const windowEnd = 2 * sizeBytes + windowSlackBytes;
  const memory: WasmMemory = createMemory(windowEnd + scratchBytes);
  registerMemory(memory, windowEnd);
  const bytes = new Uint8Array(memory.buffer);
  const windows = new Map<string, number>();
  const sums = new Map<string, VectorSum>();
  let attached = false;
  let next = sizeBytes;
  return {
    sizeBytes,
    fileOffset,
    bytes,
    get attached() {
      return attached;
    },
    attach(file) {
      if (windows.size > 0) libc.mapZeros(bytes.subarray(sizeBytes, next));
      windows.clear();
      next = sizeBytes;
      const own = bytes.subarray(0, sizeBytes);
      if (file !== undefined) libc.mapShared(own, file, fileOffset);
      else if (attached) libc.mapZeros(own);
      else own.fill(0);
      attached = file !== undefined;
    },
    window(rank, file, begin, end) {
      const key = `${rank} ${begin} ${end}`;
      const known = windows.get(key);
      if (known !== undefined) return known;
      const firstPage = begin - (begin % pageBytes);
      const length = roundUp(end - firstPage);
      if (next + length > windowEnd) {
        windows.clear();
        next = sizeBytes;
      }
      libc.mapShared(bytes.subarray(next, next + length), file, fileOffset + firstPage);
      const address = next + (begin - firstPage);
      windows.set(key, address);
      next += length;
      return address;
    },
    sum(type, count, targets) {
      const key = `${type} ${count} ${targets.join(" ")}`;
      const sum = sums.get(key) ?? compileSum(type, memory, count, targets);
      sums.set(key, sum);
      return sum;
    },
  };
}

export function roundUp(bytes: number): number {
  return Math.ceil(bytes / pageBytes) * pageBytes;
}

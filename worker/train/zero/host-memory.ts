// Weights and optimizer state that the workers of a host have in common: a file without a name, mapped by all of them under
// arrays that stay where they are, so that engine and optimizer see ordinary numbers. The file is gone with the last process that
// maps it. A region is one such file, for one set of workers; who makes it, and what is in it, is decided elsewhere.
//
//     | nonce | a line of words for each place | a shadow for each place | array 0 | array 1 | ...   each from a page on
//
// The words of a place: its progress (journal.ts), the updates it has done, and whether its part was filled.

import { closeSync, writeSync } from "node:fs";
import { randomBytes } from "node:crypto";
import { setImmediate as newsArrives } from "node:timers/promises";
import { RingtuneError } from "../../../common/errors.ts";
import { loadLibc } from "../../collective/shared-memory/libc.ts";
import { roundUp } from "../../collective/shared-memory/region.ts";
import { openFile, type SharedFile } from "../../collective/shared-memory/shared-memory.ts";
import { createMemory } from "../../simd/assembler.ts";
import { shadowLength } from "./journal.ts";

export interface HostMemory {
  /** Of zeros, in the order of allocation; to be allocated before there is a region, alike in all workers. */
  readonly arrays: readonly Float32Array[];
  readonly allocate: (length: number) => Float32Array;
  /** A region of zeros for so many workers. Throws `collective_failed` if there is no memory for it. */
  create(members: number): HostRegion;
  /** The region that `rank` has created. Throws `collective_failed` if it can't be mapped. */
  open(file: SharedFile, members: number, rank: number): HostRegion;
  /** Puts zeros of this process alone under the arrays. */
  detach(): void;
  /**
   * Resolves with true when all words have come to `value`; with false when the signal has aborted and `graceMs` are over. Keeps
   * the thread for milliseconds at most.
   */
  await(
    words: readonly Int32Array[],
    value: number,
    until: { signal: AbortSignal; graceMs?: number },
  ): Promise<boolean>;
  /** Says that this place has come to `value`. */
  arrive(word: Int32Array, value: number): void;
}

export interface HostRegion {
  readonly file: SharedFile;
  readonly members: number;
  readonly places: readonly Place[];
  /** Writes elements of an array, from `begin` on, whether the region is under the arrays or not. */
  fill(array: number, begin: number, numbers: Float32Array): void;
  /** Puts the region under the arrays. */
  attach(): void;
  /** Of this process: the words are no more. What is under the arrays stays until something else is put there. */
  release(): void;
}

export interface Place {
  readonly progress: BigInt64Array;
  readonly shadow: Float32Array;
  readonly done: Int32Array;
  readonly filled: Int32Array;
}

const lineBytes = 64;
const nonceBytes = 16;
/** So long a wait keeps its thread: then messages are looked at. */
const sleepMs = 2;
const FLOAT = Float32Array.BYTES_PER_ELEMENT;

/** `availableBytes`: memory that this process may still take. */
export function createHostMemory(availableBytes = () => process.availableMemory()): HostMemory {
  const libc = loadLibc();
  const arrays: Float32Array[] = [];
  let isShareable = libc !== undefined;

  const bytesOf = (array: Float32Array): Uint8Array => new Uint8Array(array.buffer, 0, roundUp(array.byteLength));

  function regionOn(file: SharedFile, handle: number, members: number): HostRegion {
    const { shadowBytes, controlBytes, starts } = layoutOf(arrays, members);
    const memory = createMemory(controlBytes).buffer;
    const control = new Uint8Array(memory, 0, controlBytes);
    const headerBytes = controlBytes - members * shadowBytes;
    libc!.mapShared(control, handle, 0);
    const places = Array.from({ length: members }, (_, place): Place => {
      const line = lineBytes * (place + 1);
      return {
        progress: new BigInt64Array(memory, line, 1),
        done: new Int32Array(memory, line + 8, 1),
        filled: new Int32Array(memory, line + 12, 1),
        shadow: new Float32Array(memory, headerBytes + place * shadowBytes, shadowBytes / FLOAT),
      };
    });
    const found = Buffer.from(control.subarray(0, nonceBytes)).toString("hex");
    const release = (): void => {
      libc!.mapZeros(control); // a page of a file keeps all of it
      closeSync(handle);
    };
    if (found !== file.nonce) {
      release();
      throw new RingtuneError("collective_failed", "what was mapped as the state of this host is another file");
    }
    return {
      ...{ file, members, places, release },
      fill(array, begin, numbers) {
        const bytes = new Uint8Array(numbers.buffer, numbers.byteOffset, numbers.byteLength);
        const start = starts[array]! + FLOAT * begin;
        for (let at = 0; at < bytes.length;)
          at += writeSync(handle, bytes, at, Math.min(bytes.length - at, 2 ** 30), start + at);
      },
      attach() {
        try {
          arrays.forEach((array, i) => libc!.mapShared(bytesOf(array), handle, starts[i]!));
        } catch (cause) {
          // What was there is lost to this worker, though not to others.
          throw new RingtuneError("internal", "the state of this host can't be mapped by this worker any more", {
            cause,
          });
        }
      },
    };
  }

  return {
    arrays,
    allocate(length) {
      let array = new Float32Array(0);
      try {
        if (isShareable) array = new Float32Array(createMemory(Math.max(1, length * FLOAT)).buffer, 0, length);
      } catch (error) {
        if (!(error instanceof RangeError)) throw error;
        isShareable = false;
      }
      if (!isShareable) array = new Float32Array(length);
      arrays.push(array);
      return array;
    },
    create(members) {
      if (libc === undefined || !isShareable) {
        const why = libc === undefined ? "this system can't" : "more than 4 GiB of one kind can't";
        throw new RingtuneError("collective_failed", `${why} be shared between processes`);
      }
      const { sizeBytes } = layoutOf(arrays, members);
      const available = availableBytes();
      if (sizeBytes > available) {
        const both = `${sizeBytes} bytes for weights and optimizer state, of ${available} available`;
        throw new RingtuneError("collective_failed", `cannot reserve ${both}`, { details: { sizeBytes, available } });
      }
      const handle = libc.createMemoryFile("ringtune-state", sizeBytes);
      const nonce = randomBytes(nonceBytes);
      writeSync(handle, nonce, 0, nonceBytes, 0);
      return regionOn(
        { pid: process.pid, descriptor: handle, sizeBytes, nonce: nonce.toString("hex") },
        handle,
        members,
      );
    },
    open: (file, members, rank) => regionOn(file, openFile(file, rank, layoutOf(arrays, members).sizeBytes), members),
    detach() {
      for (const array of arrays) {
        if (libc !== undefined && isShareable) libc.mapZeros(bytesOf(array));
        else array.fill(0);
      }
    },
    async await(words, value, { signal, graceMs = 0 }) {
      const late = (): Int32Array | undefined => words.find((word) => Atomics.load(word, 0) < value);
      let abortedAt: number | undefined;
      for (let word = late(); word !== undefined; word = late()) {
        if (signal.aborted) {
          const now = performance.now();
          if (now - (abortedAt ??= now) >= graceMs) return false;
        }
        const seen = Atomics.load(word, 0);
        if (seen < value) libc!.sleep(word, seen, sleepMs);
        await newsArrives();
      }
      return true;
    },
    arrive(word, value) {
      Atomics.store(word, 0, value);
      libc!.wake(word);
    },
  };
}

/** Bytes of a region and where in it everything is. */
function layoutOf(arrays: readonly Float32Array[], members: number) {
  const shadowBytes = FLOAT * shadowLength(arrays.length);
  const controlBytes = roundUp(lineBytes * (members + 1)) + members * shadowBytes;
  let sizeBytes = controlBytes;
  const starts = arrays.map(({ byteLength }) => {
    const start = sizeBytes;
    sizeBytes += roundUp(byteLength);
    return start;
  });
  return { shadowBytes, controlBytes, starts, sizeBytes };
}

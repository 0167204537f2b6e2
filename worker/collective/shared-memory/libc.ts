// The few calls of the C library that shared memory needs, on Linux: files that exist only in memory, pages of them put where
// we want them, and sleeping on a word of memory. And, on any system, memory of this process by its address, which is how a
// thread sees buffers of another. The only file that imports koffi; it knows nothing of ranks.

import koffi from "koffi";
import { RingtuneError } from "../../../common/errors.ts";

export const pageBytes = 4096;

export interface Libc {
  /** A file without a name, of zeros, whose memory is reserved: it is gone with the last process that has it open or mapped. */
  createMemoryFile(name: string, bytes: number): number;
  /** Node warns of a file that one of its threads closes without having opened it, so this one is closed as it was made. */
  closeMemoryFile(file: number): void;
  /** Puts pages of a file, shared with whoever else maps them, in the place of `target`'s, which begin and end at pages. */
  mapShared(target: Uint8Array, file: number, offset: number): void;
  /** Puts zeros of this process alone in the place of `target`'s pages. */
  mapZeros(target: Uint8Array): void;
  /** Sleeps until the word is woken, if it still is `expected`; may return early, and does after the timeout. */
  sleep(word: Int32Array, expected: number, timeoutMs: number): void;
  /** Wakes who sleeps on the word, in whatever process. */
  wake(word: Int32Array): void;
}

const [MFD_CLOEXEC, PROT_READ_WRITE] = [1, 3];
const [MAP_SHARED, MAP_PRIVATE, MAP_FIXED, MAP_ANONYMOUS, MAP_NORESERVE, MAP_POPULATE] = [1, 2, 16, 32, 0x4000, 0x8000];
const [FUTEX_WAIT, FUTEX_WAKE] = [0, 1];
const futexNumbers: Readonly<Record<string, number>> = { x64: 202, arm64: 98 };

type Call = (...values: unknown[]) => number;

/** Undefined where there is no such memory: on another system than Linux, or another processor than x64 and arm64. */
export function loadLibc(): Libc | undefined {
  const futexNumber = futexNumbers[process.arch];
  if (process.platform !== "linux" || futexNumber === undefined) return undefined;
  const library = koffi.load(null);
  const memfdCreate = library.func("int memfd_create(const char *name, unsigned int flags)") as unknown as Call;
  const fallocate = library.func("int fallocate(int fd, int mode, int64 offset, int64 length)") as unknown as Call;
  const close = library.func("int close(int fd)") as unknown as Call;
  const mmap = library.func(
    "intptr_t mmap(void *address, size_t length, int protection, int flags, int fd, int64 offset)",
  ) as unknown as Call;
  const futex = library.func(
    "long syscall(long number, void *word, long operation, long value, void *timeout, void *other, long more)",
  ) as unknown as Call;
  const timeout = new BigInt64Array(2); // seconds, nanoseconds

  const map = (target: Uint8Array, flags: number, file: number, offset: number): void => {
    const address = mmap(target, target.byteLength, PROT_READ_WRITE, flags | MAP_FIXED, file, offset);
    if (Number(address) === -1) throw failure(`cannot map ${target.byteLength} bytes`);
  };
  const mapZeros = (target: Uint8Array): void => map(target, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

  return {
    createMemoryFile(name, bytes) {
      const file = memfdCreate(name, MFD_CLOEXEC);
      if (file < 0) throw failure("cannot create a file in memory");
      if (fallocate(file, 0, 0, bytes) !== 0) {
        const error = failure(`cannot reserve ${bytes} bytes of memory`);
        close(file);
        throw error;
      }
      return file;
    },
    closeMemoryFile: (file) => void close(file),
    mapShared(target, file, offset) {
      try {
        map(target, MAP_SHARED | MAP_POPULATE, file, offset);
      } catch (error) {
        mapZeros(target); // what failed may have left a hole, which must not be touched
        throw error;
      }
    },
    mapZeros,
    sleep(word, expected, timeoutMs) {
      timeout[1] = BigInt(Math.round(Math.min(timeoutMs, 999) * 1e6));
      futex(futexNumber, word, FUTEX_WAIT, expected, timeout, null, 0);
    },
    wake: (word) => void futex(futexNumber, word, FUTEX_WAKE, 0x7fff_ffff, null, null, 0),
  };
}

/** Where the numbers are. They have to stay referenced for as long as the address is used. */
export function addressOf(numbers: Float32Array): bigint {
  return koffi.address(numbers);
}

/** The memory of this process at `address`, not a copy. Valid as long as whoever allocated it keeps it. */
export function memoryAt(address: bigint, bytes: number): ArrayBuffer {
  return koffi.view(address, bytes);
}

function failure(what: string): RingtuneError {
  const errno = koffi.errno();
  const name = Object.entries(koffi.os.errno).find(([, value]) => value === errno)?.[0] ?? `error ${errno}`;
  return new RingtuneError("collective_failed", `${what} (${name})`, { details: { errno } });
}

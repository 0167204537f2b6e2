// The memory that a worker shares with the ranks on its host: its buffers in one file that has no name, so nothing can be left
// behind by a crash, and the files of the others, opened through their processes (/proc/PID/fd/N). A generation has a
// file of its own, so what a rank of an earlier one may still write reaches nobody. Linux only; who sums what is not known here.
//
// The file's size counts against no /dev/shm, which containers keep at 64 MB; its memory is reserved when it is made, and not
// without asking how much there is, so a machine that has too little says so then, and not by a signal in the middle of a sum.

import { closeSync, constants, fstatSync, openSync, readSync, writeSync } from "node:fs";
import { randomBytes } from "node:crypto";
import { describeError, RingtuneError } from "../../../common/errors.ts";
import { createMemory } from "../../simd/assembler.ts";
import { controlBytes, createControl, type Control } from "./control.ts";
import { loadLibc, type Libc } from "./libc.ts";
import { createRegion, type Region } from "./region.ts";

/** What other ranks need to map this rank's memory. */
export interface SharedFile {
  readonly pid: number;
  readonly descriptor: number;
  readonly sizeBytes: number;
  /** Lies in the file too: whoever opens another file by mistake finds out. */
  readonly nonce: string;
}

/** A buffer that all ranks of a group have in these files of theirs, in the order of their places. Plain data: threads can tell each other. */
export interface SharedBuffer {
  readonly files: readonly SharedFile[];
  readonly fileOffset: number;
  readonly sizeBytes: number;
}

export interface SharedMemoryOptions {
  /** Longest that a call may keep its thread waiting for the others, before it lets other work go on. */
  readonly blockMs: number;
  /** Memory that this process may still take, asked before any is reserved: reserving more would end other processes. */
  readonly availableBytes: () => number;
}

export interface SharedMemory {
  /** Zeros in shareable memory; in ordinary memory if they are more than 2 GiB. */
  allocate(length: number): Float32Array;
  /**
   * The world joined next has this buffer, too, which another thread of each rank of the group shares. The one adopted before is let
   * go: nobody may use it any more. Undefined for none.
   */
  adopt(buffer: SharedBuffer | undefined): void;
  /** Takes the memory out of the hands of earlier generations' ranks. Fills it with zeros. */
  renew(): void;
  /** Makes this generation's file. Throws `collective_failed` if there is no memory, or no more files may be opened. */
  open(): SharedFile;
  /**
   * Maps the memory of all ranks of a group, of which this one is at `place`; `ranks` are theirs in the world, for messages.
   * Throws `collective_failed` if one of them can't be mapped.
   */
  join(files: readonly SharedFile[], place: number, ranks?: readonly number[]): SharedWorld;
  close(): void;
}

/** The memory of all ranks of a group, in one generation. */
export interface SharedWorld {
  /** The place in the group, and how many there are. */
  readonly rank: number;
  readonly worldSize: number;
  readonly blockMs: number;
  readonly control: Control;
  /** Through it goes what lies in ordinary memory. */
  readonly staging: Region;
  /** For other threads to `adopt`: the memory that begins with this number. Undefined if it is not shared. */
  lend(buffer: Float32Array): SharedBuffer | undefined;
  /** This rank's numbers of what was adopted. */
  readonly adopted: Float32Array | undefined;
  /** The region that these bytes lie in, if in any, and its number. */
  find(bytes: Uint8Array): { readonly region: Region; readonly index: number } | undefined;
  /** Address, in the region's memory, of bytes [begin, end) of the buffer of a rank. */
  address(region: Region, rank: number, begin: number, end: number): number;
  /** Calls so far; each takes two phases. */
  nextPhase: number;
}

/** Large enough that the meetings cost little, small enough for the second-level cache of a few ranks. */
const stagingBytes = 1024 * 1024;
const nonceOffset = 1024;
const nonceBytes = 16;

const defaults: SharedMemoryOptions = { blockMs: 20, availableBytes: () => process.availableMemory() };

/** Undefined where processes can't share memory this way. */
export function createSharedMemory(options: Partial<SharedMemoryOptions> = {}): SharedMemory | undefined {
  const libc = loadLibc();
  return libc && createOn(libc, { ...defaults, ...options });
}

function createOn(libc: Libc, { blockMs, availableBytes }: SharedMemoryOptions): SharedMemory {
  const staging = createRegion(libc, stagingBytes, controlBytes);
  const regions = [staging];
  const plain: Float32Array[] = [];
  let sizeBytes = controlBytes + staging.sizeBytes;
  let own: number | undefined;
  let opened: number[] = [];
  let control: Uint8Array | undefined;
  /** What another thread shares, for the next world. */
  let lent: SharedBuffer | undefined;
  /** Files of other threads' memory as this one has opened them, and where they are mapped, which is kept for the next ones. */
  let adoptedFiles: number[] = [];
  let adoptedRegion: Region | undefined;

  const release = (): void => {
    for (const file of opened) closeSync(file);
    opened = [];
    if (control !== undefined) libc.mapZeros(control); // a page of a file keeps all of it
    control = undefined;
    if (own !== undefined) libc.closeMemoryFile(own);
    own = undefined;
  };

  const forsake = (): void => {
    if (adoptedRegion?.attached === true) adoptedRegion.attach(undefined); // a page of a file keeps all of it
    for (const file of adoptedFiles) closeSync(file);
    adoptedFiles = [];
  };

  const openAdopted = (buffer: SharedBuffer, rank: number, ranks: readonly number[]): Region => {
    const { files, fileOffset } = buffer;
    const isSame = adoptedRegion?.fileOffset === fileOffset && adoptedRegion.sizeBytes === buffer.sizeBytes;
    const region = isSame ? adoptedRegion! : createRegion(libc, buffer.sizeBytes, fileOffset);
    adoptedRegion = region;
    for (const [index, file] of files.entries()) {
      adoptedFiles.push(openGeneration(file, ranks[index]!, files[rank]!.sizeBytes));
    }
    region.attach(adoptedFiles[rank]);
    return region;
  };

  const renew = (): void => {
    release();
    forsake();
    for (const region of regions) region.attach(undefined);
    for (const buffer of plain) buffer.fill(0);
  };

  return {
    allocate(length) {
      try {
        const region = createRegion(libc, length * Float32Array.BYTES_PER_ELEMENT, sizeBytes);
        regions.push(region);
        sizeBytes += region.sizeBytes;
        return new Float32Array(region.bytes.buffer, 0, length);
      } catch (error) {
        if (!(error instanceof RangeError)) throw error;
        const buffer = new Float32Array(length);
        plain.push(buffer);
        return buffer;
      }
    },
    adopt(buffer) {
      forsake();
      lent = buffer;
    },
    renew,
    open() {
      const available = availableBytes();
      if (sizeBytes > available) {
        const both = `${sizeBytes} bytes of memory to share, of ${available} available`;
        throw new RingtuneError("collective_failed", `cannot reserve ${both}`, { details: { sizeBytes, available } });
      }
      own = libc.createMemoryFile("ringtune", sizeBytes);
      const nonce = randomBytes(nonceBytes);
      writeSync(own, nonce, 0, nonceBytes, nonceOffset);
      for (const region of regions) region.attach(own);
      return { pid: process.pid, descriptor: own, sizeBytes, nonce: nonce.toString("hex") };
    },
    join(files, rank, ranks = [...files.keys()]) {
      const pages = new Uint8Array(createMemory(files.length * controlBytes).buffer);
      control = pages;
      const handles = files.map((file, index) => {
        const handle = index === rank ? own! : openGeneration(file, ranks[index]!, sizeBytes);
        if (index !== rank) opened.push(handle);
        const page = pages.subarray(index * controlBytes, (index + 1) * controlBytes);
        libc.mapShared(page, handle, 0);
        return handle;
      });
      const buffer = lent;
      lent = undefined;
      const adopted = buffer && openAdopted(buffer, rank, ranks);
      const filesOf = (region: Region): readonly number[] => (region === adopted ? adoptedFiles : handles);
      return {
        rank,
        worldSize: files.length,
        blockMs,
        control: createControl(pages, rank, files.length, libc),
        staging,
        lend(buffer) {
          const region = regions.find(({ bytes }) => bytes.buffer === buffer.buffer);
          if (region === undefined || buffer.byteOffset > 0) return undefined;
          return { files, fileOffset: region.fileOffset, sizeBytes: region.sizeBytes };
        },
        find(bytes) {
          const all = adopted === undefined ? regions : [...regions, adopted];
          const index = all.findIndex((region) => region.bytes.buffer === bytes.buffer);
          return index < 0 ? undefined : { region: all[index]!, index };
        },
        address: (region, of, begin, end) =>
          of === rank ? begin : region.window(of, filesOf(region)[of]!, begin, end),
        adopted: adopted && floatsOf(adopted),
        nextPhase: 1,
      };
    },
    close: renew,
  };
}

function floatsOf({ bytes, sizeBytes }: Region): Float32Array {
  return new Float32Array(bytes.buffer, 0, sizeBytes / Float32Array.BYTES_PER_ELEMENT);
}

/** A rank's file of this generation, and no other that has its place. Throws as `openFile` does. */
function openGeneration(file: SharedFile, rank: number, expectedBytes: number): number {
  const handle = openFile(file, rank, expectedBytes);
  const found = Buffer.alloc(nonceBytes);
  readSync(handle, found, 0, nonceBytes, nonceOffset);
  if (found.toString("hex") === file.nonce) return handle;
  closeSync(handle);
  throw unmapped(rank, "another file is there");
}

/** Another process's memory. Throws `collective_failed` if it is not there, or not of the expected size. */
export function openFile({ pid, descriptor, sizeBytes }: SharedFile, rank: number, expectedBytes: number): number {
  if (sizeBytes !== expectedBytes) {
    throw unmapped(rank, `it is ${sizeBytes} bytes, this rank's is ${expectedBytes}`);
  }
  let file: number;
  try {
    file = openSync(`/proc/${pid}/fd/${descriptor}`, constants.O_RDWR);
  } catch (cause) {
    throw unmapped(rank, describeError(cause), cause);
  }
  if (fstatSync(file).size === sizeBytes) return file;
  closeSync(file);
  throw unmapped(rank, "another file is there");
}

function unmapped(rank: number, why: string, cause?: unknown): RingtuneError {
  return new RingtuneError("collective_failed", `the memory of rank ${rank} can't be mapped: ${why}`, {
    details: { neighbour: rank },
    cause,
  });
}

// A call over shared memory. Rank r is in charge of chunk r of the buffer: it sums that chunk over the buffers of all ranks, in
// rank order, and writes the sum into all of them, in one pass over memory. No bytes travel; the ranks only meet twice.
//
//                 rank 0's buffer   rank 1's buffer            phase 2k+1  everybody has come, the inputs are there
//                 [ a0  |  a1  ]    [ b0  |  b1  ]             rank 0 writes a0+b0 to both, rank 1 writes a1+b1 to both
//                 [ sum0| sum1 ]    [ sum0| sum1 ]             phase 2k+2  everybody is done, the result is there
//
// Cost: a rank reads n chunks and writes n chunks of S/n bytes, S each way, whatever n: with memory bandwidth B shared by the
// ranks 2nS/B, and two meetings. Every chunk is summed by one rank in rank order: all ranks end with the same bits.
// The other collectives are the same meeting with less to do in between. Buffers in ordinary memory are copied through a
// staging region, block by block.

import { assert } from "../../../common/errors.ts";
import type { Call, Outcome } from "../call.ts";
import { chunkOf } from "../chunks.ts";
import type { Outgoing } from "../links.ts";
import type { Work } from "../session.ts";
import { strideBytes, sumOneByOne, type SumType } from "../../simd/sum.ts";
import type { Region } from "./region.ts";
import type { SharedWorld } from "./shared-memory.ts";

/** The shared part of a call: all of a buffer that lies in a region, or a block of one in the staging region. */
interface Block {
  readonly region: Region;
  /** In the region. */
  readonly offset: number;
  readonly length: number;
  /** Where in the caller's buffer it begins. */
  readonly start: number;
}

const dtypes: readonly Work["dtype"][] = ["bytes", "float32", "int64"];
const kinds: readonly Work["kind"][] = ["all-reduce", "reduce-scatter", "all-gather", "broadcast", "barrier"];

/** How long a call first waits for ranks that may be computing, before it lets this thread do other work. */
const firstWaitMs = 0.5;

export function createMemoryCall(
  work: Work & { readonly step: number; readonly bucket: number },
  world: SharedWorld,
  to: (rank: number) => Outgoing,
): Call {
  const { rank, worldSize, control } = world;
  const { kind, bytes, dtype, step, bucket } = work;
  const root = work.kind === "broadcast" ? work.root : -1;
  const found = world.find(bytes);
  const blocks = found === undefined ? cut(world.staging, bytes.byteLength) : [whole(found.region, bytes)];
  const announced = [kinds.indexOf(kind), dtypes.indexOf(dtype), step, bucket, root, bytes.byteLength, found?.index ?? 0, found ? bytes.byteOffset : 0]; // prettier-ignore
  let current = 0;
  let entered = false;
  let finished = false;
  let bytesSent = 0;
  let workedMs = 0;

  const enter = (phase: number): void => {
    for (const other of control.enter(phase)) to(other).signal();
  };

  const copyIn = ({ region, start, length }: Block): void => {
    if (found !== undefined || kind === "barrier" || (root >= 0 && root !== rank)) return;
    region.bytes.set(bytes.subarray(start, start + length));
  };
  const copyOut = ({ region, start, length }: Block): void => {
    if (found !== undefined || kind === "barrier" || root === rank) return;
    bytes.set(region.bytes.subarray(0, length), start);
  };

  /** The bytes of the block that this rank is in charge of. */
  const charge = ({ start, length }: Block): { begin: number; end: number } => {
    if (kind !== "all-gather") {
      const chunk = chunkOf(rank, worldSize, Math.ceil(length / 4));
      return { begin: Math.min(length, 4 * chunk.begin), end: Math.min(length, 4 * chunk.end) };
    }
    const chunk = chunkOf(rank, worldSize, bytes.byteLength / 4);
    const inside = (at: number): number => Math.max(0, Math.min(length, 4 * at - start));
    return { begin: inside(chunk.begin), end: inside(chunk.end) };
  };

  const numbers = (): SumType => {
    assert(dtype !== "bytes", "bytes are not summed");
    return dtype;
  };

  const carryOut = (block: Block): void => {
    const { region, offset } = block;
    const { begin, end } = charge(block);
    const length = end - begin;
    if (length === 0 || kind === "barrier") return;
    const addresses = Array.from({ length: worldSize }, (_, of) =>
      world.address(region, of, offset + begin, offset + end),
    );
    switch (kind) {
      case "all-reduce":
        sum(numbers(), region, addresses, length, [...addresses.keys()]);
        bytesSent += 2 * (worldSize - 1) * length;
        break;
      case "reduce-scatter":
        // Chunks of a block in the staging region are not those of the buffer, so there everybody gets all sums.
        sum(numbers(), region, addresses, length, found === undefined ? [...addresses.keys()] : [rank]);
        bytesSent += (worldSize - 1) * length;
        break;
      case "all-gather":
      case "broadcast": {
        const from = addresses[kind === "broadcast" ? root : rank]!;
        for (const address of addresses) {
          if (address !== from) region.bytes.copyWithin(address, from, from + length);
        }
        bytesSent += (worldSize - 1) * length;
        break;
      }
    }
  };

  const disagreement = (): Outcome | undefined => {
    for (let other = 0; other < worldSize; other++) {
      const came = control.announced(other);
      if (announced.every((number, index) => number === came[index])) continue;
      const [due, saw] = [describe(announced), describe(came)];
      const sentence = `expected ${due} from rank ${other}, but ${saw} came`;
      return { kind: "broken", sentence, facts: { neighbour: other, expected: due, came: saw } };
    }
    return undefined;
  };

  /** One meeting, the work, the other meeting. Undefined when the block is done. */
  const advanceBlock = (block: Block): Outcome | undefined => {
    const phase = world.nextPhase;
    if (!entered) {
      copyIn(block);
      control.announce([...announced, current]);
      entered = true;
      enter(phase);
    }
    if (!finished) {
      if (!control.await(phase, Math.min(world.blockMs, firstWaitMs))) return { kind: "pending" };
      const problem = disagreement();
      if (problem !== undefined) return problem;
      const startedAt = performance.now();
      carryOut(block);
      workedMs = performance.now() - startedAt;
      finished = true;
      enter(phase + 1);
    }
    // The others have as much to do as this rank had.
    if (!control.await(phase + 1, Math.min(world.blockMs, firstWaitMs + 2 * workedMs))) return { kind: "pending" };
    copyOut(block);
    world.nextPhase += 2;
    entered = finished = false;
    return undefined;
  };

  return {
    step,
    bucket,
    get bytesSent() {
      return bytesSent;
    },
    advance() {
      for (; current < blocks.length; current++) {
        const outcome = advanceBlock(blocks[current]!);
        if (outcome !== undefined) return outcome;
      }
      return { kind: "done" };
    },
    describe() {
      const late = control.missing(world.nextPhase + (finished ? 1 : 0));
      const name = late === undefined ? "nobody" : `rank ${late} (${to(late).address})`;
      return `waiting for ${name} to ${finished ? "finish" : "begin"} ${describe(announced)}, in shared memory`;
    },
  };
}

/** Vectors by WebAssembly, and the few elements after the last whole stride one by one, with the same rounding. */
function sum(
  type: SumType,
  region: Region,
  addresses: readonly number[],
  length: number,
  targets: readonly number[],
): void {
  const vectors = length - (length % strideBytes);
  region.sum(type, addresses.length, targets)(addresses, vectors);
  const rest = addresses.map((address) => address + vectors);
  sumOneByOne(type, region.bytes.buffer, { addresses: rest, targets, bytes: length - vectors });
}

function whole(region: Region, bytes: Uint8Array): Block {
  return { region, offset: bytes.byteOffset, length: bytes.byteLength, start: 0 };
}

function cut(region: Region, totalBytes: number): Block[] {
  const blocks: Block[] = [];
  do {
    const start = blocks.length * region.sizeBytes;
    blocks.push({ region, offset: 0, length: Math.min(region.sizeBytes, totalBytes - start), start });
  } while (blocks.length * region.sizeBytes < totalBytes);
  return blocks;
}

function describe([kind = 0, dtype = 0, step, bucket, root = -1, length, region]: readonly number[]): string {
  const from = root < 0 ? "" : ` from rank ${root}`;
  const where = region === 0 ? "" : ` in buffer ${region}`;
  const numbers = dtype === 0 ? "" : `, ${dtypes[dtype]}`;
  return `${kinds[kind]}${from} step ${step} bucket ${bucket} (${length} bytes${numbers}${where})`;
}

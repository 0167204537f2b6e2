// A phase of a call in shared memory: carries out moves (move.ts) where the bytes are. The whole buffer is divided evenly among the
// ranks of the group, and each does what the moves say for its share, in one pass over memory. No bytes travel; the ranks only
// meet twice. An all-reduce of a group alone is one move, of all ranks' sum into all of them:
//
//                 rank 0's buffer   rank 1's buffer            phase 2k+1  everybody has come, the inputs are there
//                 [ a0  |  a1  ]    [ b0  |  b1  ]             rank 0 writes a0+b0 to both, rank 1 writes a1+b1 to both
//                 [ sum0| sum1 ]    [ sum0| sum1 ]             phase 2k+2  everybody is done, the result is there
//
// Cost: a rank reads n shares and writes n shares of S/n bytes, S each way, whatever n: with memory bandwidth B shared by the
// ranks 2nS/B, and two meetings. Every element is summed by one rank in rank order: all ranks end with the same bits.
// Buffers in ordinary memory are copied through a staging region, block by block.

import type { Call, Outcome } from "../call.ts";
import { chunkBytes } from "../chunks.ts";
import type { WireWork } from "../due.ts";
import type { Outgoing } from "../links.ts";
import type { Kind } from "../route.ts";
import { carryOut, type Move } from "./move.ts";
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

export interface MemoryWork extends WireWork {
  readonly kind: Kind;
  /** Of a broadcast. */
  readonly root?: number;
  readonly moves: readonly Move[];
}

const dtypes: readonly WireWork["dtype"][] = ["bytes", "float32", "int64", "bfloat16", "float16"];
const kinds: readonly Kind[] = ["all-reduce", "reduce-scatter", "all-gather", "broadcast", "barrier"];

/** How long a call first waits for ranks that may be computing, before it lets this thread do other work. */
const firstWaitMs = 0.5;

/** Ranks are places in the group, and `to` finds the way to one, whatever its rank in the world. */
export function createMemoryCall(work: MemoryWork, world: SharedWorld, to: (rank: number) => Outgoing): Call {
  const { rank, worldSize, control } = world;
  const { kind, root = -1, moves, bytes, dtype, step, bucket } = work;
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

  /** The parts of the moves in bytes [begin, end) of a block, counted from its start. */
  const within = ({ start }: Block, begin: number, end: number) =>
    moves
      .map((move) => ({ ...move, begin: Math.max(begin, move.begin - start), end: Math.min(end, move.end - start) }))
      .filter((part) => part.begin < part.end);

  const copyIn = (block: Block): void => {
    if (found !== undefined) return;
    for (const { from, begin, end } of within(block, 0, block.length)) {
      if (from.includes(rank)) block.region.bytes.set(bytes.subarray(block.start + begin, block.start + end), begin);
    }
  };
  const copyOut = (block: Block): void => {
    if (found !== undefined) return;
    for (const { to: targets, begin, end } of within(block, 0, block.length)) {
      if (targets.includes(rank)) bytes.set(block.region.bytes.subarray(begin, end), block.start + begin);
    }
  };

  const carryOutShare = (block: Block): void => {
    const { region, offset, length } = block;
    const share = chunkBytes(rank, worldSize, length);
    const parts = within(block, share.begin, share.end);
    if (parts.length === 0) return;
    // Of all ranks, though the moves may need fewer: so the region maps them together.
    const addresses = Array.from({ length: worldSize }, (_, of) =>
      world.address(region, of, offset + share.begin, offset + share.end),
    );
    for (const part of parts) {
      bytesSent += carryOut(part, { rank, region, dtype, at: (of) => addresses[of]! + (part.begin - share.begin) });
    }
  };

  const disagreement = (): Outcome | undefined => {
    for (let other = 0; other < worldSize; other++) {
      const came = control.announced(other);
      if (other === rank || announced.every((number, index) => number === came[index])) continue;
      const [due, saw] = [describe(announced), describe(came)];
      const neighbour = to(other).rank;
      const sentence = `expected ${due} from rank ${neighbour}, but ${saw} came`;
      return { kind: "broken", sentence, facts: { neighbour, expected: due, came: saw } };
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
      carryOutShare(block);
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
    bytesBetweenHosts: 0,
    advance() {
      for (; current < blocks.length; current++) {
        const outcome = advanceBlock(blocks[current]!);
        if (outcome !== undefined) return outcome;
      }
      return { kind: "done" };
    },
    describe() {
      const late = control.missing(world.nextPhase + (finished ? 1 : 0));
      const name = late === undefined ? "nobody" : `rank ${to(late).rank} (${to(late).address})`;
      return `waiting for ${name} to ${finished ? "finish" : "begin"} ${describe(announced)}, in shared memory`;
    },
  };
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

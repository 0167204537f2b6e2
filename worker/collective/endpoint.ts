// The endpoint of a worker over any transport: one bound address for the life of the worker, one generation's ring at a
// time. Sorts what arrives: hellos to the collective they are for (or kept until it is formed), frames to the collective
// that gave them credit, everything else dropped and counted.

import { assert, RingtuneError } from "../../common/errors.ts";
import { decodeFrame, hashJobId, maxPayloadBytes, type FrameHeader } from "../../proto/frame.ts";
import type { CollectiveEndpoint, Membership } from "./collective.ts";
import { mismatch, type DropReason, type Position } from "./link.ts";
import { createRingSession, type RingCollective, type RingOptions, type RingSession } from "./ring-collective.ts";
import { modulo } from "./ring.ts";
import type { Transport } from "./transport.ts";

export interface RingEndpoint extends CollectiveEndpoint {
  form(membership: Membership): Promise<RingCollective>;
  /** Messages dropped since the endpoint was created, by reason. */
  readonly dropped: ReadonlyMap<DropReason, number>;
}

/** Hellos of neighbours that formed a generation before this rank did; the oldest gives way. */
const maxWaitingHellos = 64;

/**
 * Measured over TCP with two processes on one host (test/bench/all-reduce.ts), 100 MB, best of 3 on a busy two-core machine:
 * 256 KiB x 16 130 ms, 512 KiB x 8 100 ms, 1 MiB x 8 104 ms and the least spread, 2 MiB x 4 94 ms; 1 and 10 MB prefer
 * 1 MiB too. ipc:// instead of tcp:// was no faster, so there is only tcp.
 */
export const defaultRingOptions: RingOptions = { segmentBytes: 1024 * 1024, windowSegments: 8 };

export function createRingEndpoint(transport: Transport, options: Partial<RingOptions> = {}): RingEndpoint {
  const ringOptions: RingOptions = { ...defaultRingOptions, ...options };
  const { segmentBytes } = ringOptions;
  assert(
    segmentBytes > 0 && segmentBytes % 4 === 0 && segmentBytes <= maxPayloadBytes,
    `${segmentBytes} bytes a segment`,
  );
  assert(ringOptions.windowSegments >= 1, "windowSegments is at least 1");
  const dropped = new Map<DropReason, number>();
  const hellos = new Map<string, FrameHeader>();
  const latest = new Map<bigint, number>(); // newest generation formed, by job
  let session: RingSession | undefined;
  let closed = false;

  const drop = (reason: DropReason): void => void dropped.set(reason, (dropped.get(reason) ?? 0) + 1);

  const meet = (connection: string, hello: FrameHeader): void => {
    if (session === undefined || hello.job !== session.position.job || hello.generation > session.position.generation) {
      return keep(connection, hello);
    }
    const { position, link } = session;
    const problem = mismatch(hello, position, position.predecessor);
    if (problem !== undefined) return drop(problem);
    if (hello.chunk !== position.worldSize) {
      return session.fail(
        `rank ${hello.source} says that generation ${hello.generation} has ${hello.chunk} ranks, but here it has ${position.worldSize}`,
      );
    }
    if (link?.attach(connection) !== true) drop("duplicate_hello");
  };

  const keep = (connection: string, hello: FrameHeader): void => {
    if (hello.generation <= (latest.get(hello.job) ?? -1)) return drop("other_generation");
    hellos.set(connection, hello);
    const [oldest] = hellos.keys();
    if (hellos.size > maxWaitingHellos && oldest !== undefined) {
      hellos.delete(oldest);
      drop("too_many_hellos");
    }
  };

  transport.listen((connection, parts) => {
    const decoded = decodeFrame(parts);
    if (!decoded.ok) return drop(decoded.problem);
    const { header } = decoded;
    if (header.kind === "hello") return meet(connection, header);
    if (header.kind === "credit") return drop("unexpected_kind");
    if (session?.link === undefined) return drop("no_credit");
    const problem = mismatch(header, session.position, session.position.predecessor);
    if (problem !== undefined) return drop(problem);
    if (!session.link.owns(connection)) return drop("no_credit");
    session.link.deliver(decoded);
  });

  return {
    address: transport.address,
    dropped,
    async form(membership) {
      assert(!closed, "the endpoint is open");
      const position = positionIn(membership);
      const before = latest.get(position.job);
      assert(
        before === undefined || position.generation > before,
        `generation ${position.generation} is newer than ${before}, the last one of job ${membership.jobId}`,
      );
      session?.fail(`generation ${position.generation} of job ${membership.jobId} took its place`);
      session = undefined;
      session = createRingSession(position, ringOptions, transport, drop);
      latest.set(position.job, position.generation);
      for (const [connection, hello] of [...hellos]) {
        if (hello.job !== position.job || hello.generation > position.generation) continue;
        hellos.delete(connection);
        meet(connection, hello);
      }
      return session.collective;
    },
    async close() {
      if (closed) return;
      closed = true;
      session?.fail("the endpoint was closed");
      await transport.close();
    },
  };
}

/** Checks a membership and places this rank between its neighbours. */
function positionIn({ jobId, generation, rank, endpoints }: Membership): Position {
  const worldSize = endpoints.length;
  const valid = Number.isInteger(rank) && rank >= 0 && rank < worldSize;
  if (!valid || !Number.isInteger(generation) || generation < 0 || generation > 0xffff_ffff) {
    throw new RingtuneError(
      "collective_failed",
      `job ${jobId} has no rank ${rank} in generation ${generation} with ${worldSize} endpoints`,
      { details: { rank, generation, worldSize } },
    );
  }
  const successor = modulo(rank + 1, worldSize);
  return {
    job: hashJobId(jobId),
    generation,
    rank,
    worldSize,
    predecessor: modulo(rank - 1, worldSize),
    successor,
    successorAddress: endpoints[successor]!,
  };
}

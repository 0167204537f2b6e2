// The endpoint of a worker over any transport: one bound address for the life of the worker, one generation's session at a
// time. Sorts what arrives: hellos to the collective they are for (or kept until it is formed), frames to the collective
// that gave them credit, everything else dropped and counted.

import { assert, RingtuneError } from "../../common/errors.ts";
import { decodeFrame, hashJobId, maxPayloadBytes, type FrameHeader } from "../../proto/frame.ts";
import { hostName, parseAddress } from "./address.ts";
import type { CollectiveEndpoint, Membership } from "./collective.ts";
import { createSummable } from "../simd/sum.ts";
import { mismatch, type DropReason, type Position } from "./links.ts";
import type { Bandwidths } from "./measure-hosts.ts";
import { createSession, type RingOptions, type Session, type SessionCollective } from "./session.ts";
import type { SharedMemory } from "./shared-memory/shared-memory.ts";
import type { Transport } from "./transport.ts";

export interface RingEndpoint extends CollectiveEndpoint {
  form(membership: Membership): Promise<SessionCollective>;
  /** Messages dropped since the endpoint was created, by reason. */
  readonly dropped: ReadonlyMap<DropReason, number>;
}

/** Hellos of ranks that formed a generation before this one did; the oldest gives way. */
const maxWaitingHellos = 1024;

/**
 * With 4 ranks, under load, 64 KB took 4 ms directly and 8 ms by the ring, 256 KB 7 and 12 ms: `directBytes` are fewer,
 * because between hosts bytes cost more.
 */
export const defaultRingOptions: RingOptions = {
  segmentBytes: 1024 * 1024,
  windowSegments: 8,
  directBytes: 128 * 1024,
  now: () => performance.now(),
};

/**
 * Among ranks of one host there is no latency to hide, and a message takes some 30 us of a processor that all share. 100 MB between
 * two ranks over TCP on two idle cores, medians: in one run 104 ms with pieces of 64 KiB, 71 of 256 KiB, 66 of 1 MiB; in another 68 of
 * 1 MiB, 60 to 68 of 2 and 4 MiB, which is noise. 10 MB: 5.4 ms with 2.5 MiB x 8, 6.8 with x 4, which acknowledge each piece.
 */
const optionsOnOneHost = { ...defaultRingOptions, segmentBytes: 2.5 * 1024 * 1024 };

/** `memory`, if there is any, is used with the ranks of the same host that have it too; the address of the transport says so. */
export function createRingEndpoint(
  transport: Transport,
  options: Partial<RingOptions> = {},
  memory?: SharedMemory,
): RingEndpoint {
  const optionsAmong = (addresses: readonly string[]): RingOptions => {
    const hosts = new Set(addresses.map((address) => hostName(parseAddress(address))));
    return { ...(hosts.size === 1 ? optionsOnOneHost : defaultRingOptions), ...options };
  };
  const { segmentBytes, windowSegments } = optionsAmong([]);
  assert(
    segmentBytes > 0 && segmentBytes % 8 === 0 && segmentBytes <= maxPayloadBytes,
    `${segmentBytes} bytes a segment`,
  );
  assert(windowSegments >= 1, "windowSegments is at least 1");
  const dropped = new Map<DropReason, number>();
  const hellos = new Map<string, FrameHeader>();
  const latest = new Map<bigint, number>(); // newest generation formed, by job
  const bandwidths: Bandwidths = new Map();
  let session: Session | undefined;
  let closed = false;

  const drop = (reason: DropReason): void => void dropped.set(reason, (dropped.get(reason) ?? 0) + 1);

  const meet = (connection: string, hello: FrameHeader): void => {
    if (session === undefined || hello.job !== session.position.job || hello.generation > session.position.generation) {
      return keep(connection, hello);
    }
    const { position, links } = session;
    const problem = mismatch(hello, position);
    if (problem !== undefined) return drop(problem);
    if (hello.chunk !== position.worldSize) {
      return session.fail(
        `rank ${hello.source} says that generation ${hello.generation} has ${hello.chunk} ranks, but here it has ${position.worldSize}`,
      );
    }
    if (!links.attach(hello.source, connection)) drop("duplicate_hello");
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
    if (session === undefined) return drop("no_credit");
    const problem = mismatch(header, session.position);
    if (problem !== undefined) return drop(problem);
    if (!session.links.owns(header.source, connection)) return drop("no_credit");
    if (header.kind === "signal") session.wake();
    else session.links.deliver(header.source, decoded);
  });

  return {
    address: transport.address,
    dropped,
    allocate: (length) => memory?.allocate(length) ?? createSummable(length),
    adopt: (buffer) => memory?.adopt(buffer),
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
      transport.admit(position.addresses);
      // Ranks of earlier generations that were left behind lose their hold on this rank's memory, whatever comes next.
      memory?.renew();
      session = createSession(position, optionsAmong(position.addresses), transport, memory, bandwidths, drop);
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
      memory?.close();
      await transport.close();
    },
  };
}

/** Checks a membership. */
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
  return { job: hashJobId(jobId), generation, rank, worldSize, addresses: endpoints };
}

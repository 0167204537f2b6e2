// What every transport must keep: bytes of one rank arrive whole at those that they are meant for, with ranks that come late, and
// a barrier holds.

import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { call, onAllRanks, runsOf, scenario } from "../../support/collective-contract.ts";
import { transportKinds } from "../../support/collective-world.ts";

describe.each(transportKinds)("%s", (kind) => {
  test("a broadcast leaves the bytes of the root everywhere, whoever the root is", async () => {
    await fc.assert(
      fc.asyncProperty(scenario, async (given) => {
        const byte = (rank: number, i: number): number => (i * 31 + rank * 101) % 256;
        const results = await onAllRanks(kind, given, async ({ collective, buffers, late }) => {
          const copies: Buffer[] = [];
          for (const [step, buffer] of buffers.entries()) {
            const bytes = new Uint8Array(buffer.buffer, buffer.byteOffset, Math.max(0, buffer.byteLength - 3));
            bytes.forEach((_, i) => (bytes[i] = byte(collective.rank, i)));
            await late();
            await collective.broadcast(bytes, given.root, call(step));
            copies.push(Buffer.from(bytes));
            bytes.fill(0);
          }
          return copies;
        });
        for (const copies of results) {
          for (const copy of copies) expect(copy.every((value, i) => value === byte(given.root, i))).toBe(true);
        }
      }),
      { numRuns: runsOf(kind) },
    );
  });

  test("a transfer copies from one rank to one other, either way, and the rest need not come", async () => {
    const n = 4;
    const pairs = [
      { from: 0, to: 1 },
      { from: 3, to: 1 },
      { from: 1, to: 3 },
      { from: 2, to: 0 },
    ];
    const filled = (length: number, value: number): Uint8Array => new Uint8Array(length).fill(value);
    const seen = await onAllRanks(
      kind,
      { n, lengths: [], seed: 3, allocated: false, segmentBytes: 1000 },
      async (rank) => {
        const { collective } = rank;
        const buffers: Uint8Array[] = [];
        for (const [step, between] of pairs.entries()) {
          const buffer = filled(5003, collective.rank);
          await rank.late();
          const { bytesSent } = await collective.transfer(buffer, between, call(step));
          expect(bytesSent).toBe(collective.rank === between.from ? 5003 : 0);
          buffers.push(buffer);
          // Among transfers there are calls of all.
          await collective.barrier(call(step));
        }
        return buffers;
      },
    );
    for (const [rank, buffers] of seen.entries()) {
      for (const [i, { from, to }] of pairs.entries()) {
        expect(Buffer.from(filled(5003, rank === to ? from : rank)).equals(buffers[i]!), `rank ${rank}, ${i}`).toBe(
          true,
        );
      }
    }
  });

  test("buffers are passed along a chain of some ranks while the others go on, and all meet again in the next call", async () => {
    await fc.assert(
      fc.asyncProperty(scenario, async (given) => {
        const chain = Array.from({ length: given.n }, (_, i) => (given.root + i) % given.n).slice(
          0,
          1 + (given.seed % 4),
        );
        const byte = (rank: number, buffer: number, i: number): number => (i * 31 + rank * 101 + buffer * 7) % 256;
        const results = await onAllRanks(kind, given, async ({ collective, buffers, late }) => {
          const { rank } = collective;
          const parts = [3, 0, 70_000].map((length) => new Uint8Array(length).fill(rank));
          for (const [at, part] of parts.entries())
            if (rank === chain[0]) part.forEach((_, i) => (part[i] = byte(rank, at, i)));
          await late();
          const passing = chain.includes(rank) ? collective.pass(parts, chain, call(1)) : undefined;
          const sum = (buffers[0] ?? new Float32Array(1)).fill(1);
          // The next call is made before this one is through.
          await collective.allReduce(sum, call(2));
          await passing;
          return { rank, parts, sums: [...sum] };
        });
        for (const { rank, parts, sums } of results) {
          expect(sums.every((value) => value === given.n)).toBe(true);
          const from = chain.includes(rank) ? chain[0]! : undefined;
          for (const [at, part] of parts.entries())
            expect(part.every((value, i) => value === (from === undefined ? rank : byte(from, at, i)))).toBe(true);
        }
      }),
      { numRuns: Math.ceil(runsOf(kind) / 2) },
    );
  });

  test("nobody leaves a barrier before everybody has come", async () => {
    for (const n of [1, 2, 5]) {
      let came = 0;
      const seen = await onAllRanks(kind, { n, lengths: [], seed: n, allocated: false }, async (rank) => {
        const seen: number[] = [];
        for (let round = 0; round < 4; round++) {
          await rank.late();
          came++;
          await rank.collective.barrier(call(round));
          seen.push(came);
        }
        return seen;
      });
      for (const each of seen) each.forEach((count, round) => expect(count).toBeGreaterThanOrEqual(n * (round + 1)));
    }
  });
});

// The ledger of samples: every row that is planned for a worker is leased to it, a commit settles the leases of its step, and
// a generation that ends gives back what was not committed. Settling counts what really was leased against the stream:
//
//     stream     |----- committed -----|----- step s -----|----- step s+1 -----|
//     leases                           [ w0 ][ w1 ][  w2 ][ w0 ][ w1 ][  w2    ]
//     position                         ^ a lease that begins before it is a duplicate, a gap after it is a loss
//
// leased = committed + re-queued + outstanding, always.

import { addDigests, emptyDigest } from "../../common/sample-digest.ts";
import type { LedgerCounts } from "../../common/records.ts";
import type { Range } from "./job.ts";

export interface Lease extends Range {
  readonly step: number;
  readonly worker: string;
}

export interface Ledger {
  counts: LedgerCounts;
  /** The first sample of the stream that is not committed. */
  position: number;
  leases: Lease[];
}

const none: LedgerCounts = { leased: 0, committed: 0, requeued: 0, duplicated: 0, lost: 0, digest: emptyDigest };

/** `before`: the counts of a run that goes on. What was leased beyond its last commit is given back. */
export function createLedger(position: number, before = none): Ledger {
  return { counts: { ...before, requeued: before.leased - before.committed }, position, leases: [] };
}

export function lease(ledger: Ledger, worker: string, step: number, { start, rows }: Range): void {
  ledger.leases.push({ worker, step, start, rows });
  ledger.counts = { ...ledger.counts, leased: ledger.counts.leased + rows };
}

/** What of a step a worker has to reduce. */
export function leaseOf({ leases }: Ledger, worker: string, step: number): Range {
  return leases.find((each) => each.worker === worker && each.step === step) ?? { start: 0, rows: 0 };
}

/** The step is committed: its leases are settled against the `batch` that it should have been made of. */
export function settle(ledger: Ledger, step: number, batch: Range, digests: readonly string[]): void {
  let { committed, duplicated, lost } = ledger.counts;
  let at = ledger.position;
  const mine = ledger.leases.filter((each) => each.step === step).sort((a, b) => a.start - b.start);
  for (const { start, rows } of mine) {
    duplicated += Math.min(rows, Math.max(0, at - start));
    lost += Math.max(0, start - at);
    committed += rows;
    at = Math.max(at, start + rows);
  }
  const end = batch.start + batch.rows;
  lost += Math.max(0, end - at);
  duplicated += Math.max(0, at - end);
  ledger.leases = ledger.leases.filter((each) => each.step !== step);
  ledger.position = end;
  ledger.counts = {
    ...ledger.counts,
    committed,
    duplicated,
    lost,
    digest: digests.reduce(addDigests, ledger.counts.digest),
  };
}

/** The generation is over: what it held and did not commit is to be leased anew. */
export function requeue(ledger: Ledger): void {
  const rows = ledger.leases.reduce((sum, each) => sum + each.rows, 0);
  ledger.leases = [];
  ledger.counts = { ...ledger.counts, requeued: ledger.counts.requeued + rows };
}

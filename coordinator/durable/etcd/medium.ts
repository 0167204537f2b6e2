// The medium of several coordinators: etcd, which has a write when most of its members have. Each write is a transaction
// with two conditions: that this coordinator's key still leads, and that the head is the one that it wrote last. The
// second makes it safe to try again without knowing whether the attempt before was carried out, and keeps that one, should
// it arrive late, from undoing what came after.

import { RingtuneError } from "../../../common/errors.ts";
import { headKey, type Medium } from "../store.ts";
import type { Etcd } from "./client.ts";
import type { Leadership } from "./election.ts";
import { persist, type Patience } from "./patience.ts";

const folder = "state/";

/**
 * What was written before is read by whoever leads. `write` rejects with `superseded` when this coordinator does not lead
 * any more, `unavailable` when etcd has not answered within the limit; it resolves only while the lease holds.
 */
export function createEtcdMedium(etcd: Etcd, leadership: Leadership, patience: Patience): Medium {
  const head = folder + headKey;
  /** At which the head was last written. */
  let headRevision = "0";

  async function writeOnce(values: ReadonlyMap<string, string>): Promise<void> {
    const written = await etcd.transact({
      if: [
        { key: leadership.key, revision: "created", is: leadership.revision },
        { key: head, revision: "modified", is: headRevision },
      ],
      put: Array.from(values, ([key, value]) => [folder + key, value] as const),
      else: [leadership.key, head],
    });
    if ("revision" in written) {
      headRevision = written.revision;
      return;
    }
    if (written.found.get(leadership.key)?.created !== leadership.revision) throw await leadership.whyNot();
    const there = written.found.get(head);
    if (there === undefined || there.value !== values.get(headKey)) {
      const sentence = `${etcd.name}: somebody else has written the state of the run, at revision ${there?.modified ?? 0} after ${headRevision}`;
      throw new RingtuneError("checkpoint_invalid", sentence);
    }
    headRevision = there.modified;
  }

  return {
    name: etcd.name,
    async readAll() {
      const entries = await persist("read the state of the run", patience, () => etcd.list(folder));
      const texts = new Map(entries.map(({ key, value }) => [key.slice(folder.length), value]));
      headRevision = entries.find(({ key }) => key === head)?.modified ?? "0";
      return texts;
    },
    async write(values) {
      try {
        await persist("write the state of the run", patience, () => writeOnce(values));
      } catch (error) {
        throw error instanceof RingtuneError && error.code === "disk_failed" ? withSizes(error, values) : error;
      }
      await leadership.lease.assure().catch(async () => {
        throw await leadership.whyNot();
      });
    },
    holds: () => leadership.lease.holds(),
    close: async () => undefined,
  };
}

/** etcd refuses requests above its --max-request-bytes, and does not say how large this one was. */
function withSizes(error: RingtuneError, values: ReadonlyMap<string, string>): RingtuneError {
  const sizes = Array.from(values, ([key, value]) => ({ key, bytes: Buffer.byteLength(value) }));
  const all = sizes.reduce((sum, { bytes }) => sum + bytes, 0);
  const [largest] = sizes.sort((a, b) => b.bytes - a.bytes);
  const most = largest === undefined ? "" : `, ${largest.bytes} of them ${largest.key}`;
  return new RingtuneError("disk_failed", `${error.message} (a write of ${all} bytes${most})`, { cause: error });
}

// The time of day jumps: when somebody sets it, when NTP corrects it, when a machine wakes up. So nothing may be decided by it
// but what is given in it, and these are all the places that read it.

import { readdir, readFile } from "node:fs/promises";
import { join } from "node:path";
import { expect, test } from "vitest";
import { packageRoot } from "../../common/package-root.ts";

/** What the time of day is read for, by file. */
const allowed: Readonly<Record<string, string>> = {
  "common/certificates.ts": "whether a certificate is valid, which is given in it",
  "coordinator/certs.ts": "from when to when a certificate is valid",
  "coordinator/cli/bench.ts": "the date on a report",
  "coordinator/cli/chaos.ts": "the name of a run",
  "coordinator/doctor/machine.ts": "the date on a report",
  "coordinator/durable/etcd/client.ts":
    "deadlines of gRPC, which are given in it; a jump costs one call, which is tried again",
  "coordinator/log/json-progress.ts": "the date of a line",
  "coordinator/log/run-log.ts": "the date of a line",
  "coordinator/metrics.ts": "timestamps that Prometheus shows",
  "coordinator/open-run.ts": "the name of a run",
  "coordinator/store/join-tokens.ts": "whether a join token has expired, which is given in it",
  "coordinator/store/lock.ts": "the date in a lock, for whoever reads it",
  "coordinator/store/run-directory.ts": "the name of a run",
  "proto/admin.ts": "a deadline of gRPC, which is given in it; a jump costs one call of a command",
  "coordinator/rpc/driver.ts": "how far a worker's clock is from this host's, which is told to people",
  "worker/control/thread.ts": "the same",
  "worker/worker-log.ts": "the date of a line",
  "proto/session.ts":
    "the same, and a deadline of gRPC, a tenth of a second away, asked for again until a clock that never jumps says stop",
};

const readsTimeOfDay = /\bDate\.now\b|\bnew Date\(\)/;

test("only what is given in the time of day is decided by it", async () => {
  const found: string[] = [];
  for (const folder of ["common", "coordinator", "proto", "worker"]) {
    for (const entry of await readdir(join(packageRoot, folder), { recursive: true, withFileTypes: true })) {
      if (!entry.isFile() || !entry.name.endsWith(".ts")) continue;
      const path = join(entry.parentPath, entry.name);
      if (readsTimeOfDay.test(await readFile(path, "utf8")))
        found.push(path.slice(packageRoot.length).replace(/^\//, ""));
    }
  }
  expect(found.sort()).toEqual(Object.keys(allowed).sort());
});

// What can't work in cluster.store, each with a way out.

import { expect, test } from "vitest";
import { checkRules } from "../../../common/config/rules.ts";
import { configSchema } from "../../../common/config/schema.ts";

function problems(store: Record<string, unknown>, checkpoint: object = { name: "a" }): string[] {
  const etcd = { kind: "etcd", endpoints: ["http://127.0.0.1:2379"], ...store };
  const config = configSchema.parse({ train: { steps: 10 }, cluster: { store: etcd }, checkpoint });
  return checkRules(config).map(({ path, message }) => `${path}: ${message}`);
}

test.each<[Record<string, unknown>, string]>([
  [
    { endpoints: ["127.0.0.1:2379"] },
    'cluster.store.endpoints: "127.0.0.1:2379" is not an endpoint of etcd; write http://HOST:PORT',
  ],
  [
    { endpoints: ["http://etcd-0:2379"] },
    'cluster.store.endpoints: "http://etcd-0:2379" goes over the network without TLS',
  ],
  [
    { endpoints: ["https://etcd-0:2379", "http://localhost:2379"] },
    "cluster.store.endpoints: 1 with https and 1 without can't be mixed; use https for all",
  ],
  [{ certs: "certs" }, 'cluster.store.certs: "certs" is of no use with http'],
  [{ username: "ringtune" }, 'cluster.store.username: "ringtune" has no password; give the file with it in'],
  [{ password_file: "pw" }, 'cluster.store.password_file: "pw" is nobody\'s; give cluster.store.username'],
  [{ lease_s: 5, timeout_s: 5 }, "cluster.store.lease_s: 5 s is not below cluster.store.timeout_s 5 s"],
])("%j can't work", (store, expected) => {
  const found = problems(store);
  expect(found).toHaveLength(1);
  expect(found[0]).toContain(expected);
});

test("several coordinators need a name for the run", () => {
  expect(problems({}, {})).toEqual([
    "cluster.store.kind: etcd is for several coordinators of one run, and they know it by its name; give checkpoint.name",
  ]);
});

test("etcd on loopback, or with TLS and a user, is accepted", () => {
  expect(problems({ endpoints: ["http://localhost:2379", "http://[::1]:2379"] })).toEqual([]);
  const secure = { endpoints: ["https://etcd-0:2379"], certs: "certs", username: "a", password_file: "b" };
  expect(problems(secure)).toEqual([]);
});

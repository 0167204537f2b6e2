// TLS and users of a real etcd, and the sentences of those that it does not let in.

import { copyFile, mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { describe, expect, onTestFinished, test } from "vitest";
import { configSchema } from "../../../common/config/schema.ts";
import { makeCertificates } from "../../../coordinator/certs.ts";
import type { Etcd } from "../../../coordinator/durable/etcd/client.ts";
import { connectEtcd, type EtcdSettings } from "../../../coordinator/durable/etcd/connect.ts";
import { persist } from "../../../coordinator/durable/etcd/patience.ts";
import { hasEtcd, startEtcd, type EtcdCluster, type EtcdStart } from "../../support/etcd.ts";

async function folderOf(certificates: boolean): Promise<string> {
  const folder = await mkdtemp(join(tmpdir(), "ringtune-test-"));
  onTestFinished(() => rm(folder, { recursive: true, force: true }));
  if (certificates) await makeCertificates({ folder, hosts: [], days: 1 });
  return folder;
}

async function start(options: EtcdStart): Promise<EtcdCluster> {
  const cluster = await startEtcd(options);
  onTestFinished(() => cluster.stop());
  return cluster;
}

async function connect(store: object): Promise<Etcd> {
  const config = configSchema.parse({ cluster: { store: { kind: "etcd", ...store } } });
  const etcd = await connectEtcd(config.cluster.store as EtcdSettings, "run");
  onTestFinished(() => etcd.close());
  return etcd;
}

const put = (etcd: Etcd, limitMs = 60_000): Promise<unknown> =>
  persist("write", { limitMs, notice: () => undefined }, () => etcd.transact({ if: [], put: [["a", "1"]], else: [] }));

describe.skipIf(!hasEtcd)("etcd that does not let everybody in (package etcd-server)", () => {
  test("is called with TLS and the client's certificate", async () => {
    const certs = await folderOf(true);
    const { endpoints } = await start({ certs });
    const stranger = await connect({ endpoints, certs });
    await expect(put(stranger, 1)).rejects.toMatchObject({ code: "unavailable" });
    await copyFile(join(certs, "worker.pem"), join(certs, "client.pem"));
    await expect(connect({ endpoints, certs })).rejects.toThrow(
      "has client.pem and no client-key.pem; both or neither",
    );
    await copyFile(join(certs, "worker-key.pem"), join(certs, "client-key.pem"));
    const friend = await connect({ endpoints, certs });
    await put(friend);
    const other = await connect({ endpoints, certs: await folderOf(true) });
    await expect(put(other, 1)).rejects.toThrow(/does not answer: .*certificate/);
  });

  test("is told the user and the password, and names who it refuses", async () => {
    const { endpoints } = await start({});
    const open = await connect({ endpoints });
    await put(open);
    const folder = await folderOf(false);
    const password_file = join(folder, "password");
    await writeFile(password_file, "s3cret\n");
    const base64 = (text: string): string => Buffer.from(text).toString("base64");
    const below = { permType: "READWRITE", key: base64("ringtune/run/"), range_end: base64("ringtune/run0") };
    for (const [call, body] of [
      ["user/add", { name: "root", password: "root-secret" }],
      ["user/grant", { user: "root", role: "root" }],
      ["user/add", { name: "ringtune", password: "s3cret" }],
      ["role/add", { name: "runs" }],
      ["role/grant", { name: "runs", perm: below }],
      ["user/grant", { user: "ringtune", role: "runs" }],
      ["enable", {}],
    ] as const) {
      const answer = await fetch(`${endpoints[0]}/v3/auth/${call}`, { method: "POST", body: JSON.stringify(body) });
      expect(answer.ok, `${call}: ${await answer.text()}`).toBe(true);
    }
    await expect(put(open)).rejects.toMatchObject({ code: "unauthenticated" });
    const user = await connect({ endpoints, username: "ringtune", password_file });
    await put(user);
    const { lease } = await user.grant(5);
    expect(await user.keepAlive(lease)).toBeGreaterThan(0);
    await user.revoke(lease);
    const beyond = await connect({ endpoints, prefix: "other", username: "ringtune", password_file });
    await expect(put(beyond)).rejects.toThrow(
      'refuses this coordinator as user "ringtune": etcdserver: permission denied',
    );
    await writeFile(password_file, "guess\n");
    const guesser = await connect({ endpoints, username: "ringtune", password_file });
    await expect(put(guesser)).rejects.toMatchObject({ code: "unauthenticated" });
    const missing = { endpoints, username: "ringtune", password_file: join(folder, "nothing") };
    await expect(connect(missing)).rejects.toThrow("of cluster.store.password_file: there is no such file");
  });
});

// etcd from the configuration: endpoints, certificates and user of cluster.store.

import { readFile } from "node:fs/promises";
import { join } from "node:path";
import type { Config } from "../../../common/config/schema.ts";
import { diskReason } from "../../../common/disk-error.ts";
import { describeError, RingtuneError } from "../../../common/errors.ts";
import { createEtcd, type Etcd, type EtcdOptions } from "./client.ts";

export type EtcdSettings = Extract<Config["cluster"]["store"], { kind: "etcd" }>;

/** Longest wait for one answer: several fit into a lease. */
const attemptMs = 800;

/** Keys of the run called `name` and of no other. Throws `config_invalid` for files that can't be read. */
export async function connectEtcd(settings: EtcdSettings, name: string): Promise<Etcd> {
  const { endpoints, prefix, certs, username, password_file: passwordFile } = settings;
  const tls = certs === undefined ? {} : { tls: await readCertificates(certs) };
  const password = passwordFile === undefined ? "" : (await read(passwordFile, "password_file")).toString().trim();
  const user = username === undefined ? {} : { user: { name: username, password } };
  return createEtcd({ endpoints, prefix: `${prefix}/${name}/`, attemptMs, ...tls, ...user });
}

async function readCertificates(folder: string): Promise<NonNullable<EtcdOptions["tls"]>> {
  const ca = await read(join(folder, "ca.pem"), "certs");
  const [certificate, key] = await Promise.all(
    ["client.pem", "client-key.pem"].map((name) => readFile(join(folder, name)).catch(() => undefined)),
  );
  if ((certificate === undefined) !== (key === undefined)) {
    const [there, missing] =
      certificate === undefined ? ["client-key.pem", "client.pem"] : ["client.pem", "client-key.pem"];
    throw new RingtuneError(
      "config_invalid",
      `cluster.store.certs ${folder} has ${there} and no ${missing}; both or neither`,
    );
  }
  return { ca, ...(certificate && key ? { certificate, key } : {}) };
}

async function read(path: string, field: string): Promise<Buffer> {
  try {
    return await readFile(path);
  } catch (cause) {
    const why = (cause as NodeJS.ErrnoException).code === "ENOENT" ? "there is no such file" : diskReason(cause);
    const sentence = `cannot read ${path}, of cluster.store.${field}: ${why ?? describeError(cause)}`;
    throw new RingtuneError("config_invalid", sentence, { cause });
  }
}

// How far a run can be reached: by which address it is called, and what others on the network could see. Decides nothing; what
// is refused is common/config/rules.ts.

import { readFile } from "node:fs/promises";
import { hostname } from "node:os";
import { readCredentials, type Credentials } from "../common/certificates.ts";
import type { Config } from "../common/config/schema.ts";
import { describeError, RingtuneError } from "../common/errors.ts";
import { bracketed, isEveryAddress, isLoopback } from "../common/loopback.ts";

/** How workers call a coordinator that listens on this host and port. */
export function addressToCall(host: string, port: number): string {
  return `${bracketed(isEveryAddress(host) ? hostname() : host)}:${port}`;
}

/** A warning for everything that `insecure` opens. */
export function exposureOf({ cluster, metrics }: Config): string[] {
  const warnings: string[] = [];
  if (cluster.insecure && cluster.certs !== undefined) {
    warnings.push("cluster.insecure: gradients and weights travel between the workers unencrypted");
  } else if (cluster.insecure && !isLoopback(cluster.host)) {
    warnings.push(
      `cluster.insecure: ${cluster.host} is beyond loopback, and tokens, data and gradients travel unencrypted`,
    );
  }
  const isGuarded = metrics.certs !== undefined && metrics.basic_auth !== undefined;
  if (metrics.enabled && metrics.insecure && !isGuarded && !isLoopback(metrics.host)) {
    warnings.push(`metrics.insecure: ${metrics.host} is beyond loopback, and others can read the metrics`);
  }
  return warnings.map((line) => `warning: ${line}`);
}

/** What stands before the metrics. Throws `unauthenticated` for certificates that can't be used, or an absent password. */
export async function guardOf({
  certs,
  basic_auth: auth,
}: Config["metrics"]): Promise<{ credentials?: Credentials; login?: { username: string; password: string } }> {
  const credentials = certs === undefined ? {} : { credentials: await readCredentials(certs, "coordinator") };
  if (auth === undefined) return credentials;
  const { username, password_file: path } = auth;
  const password = await readFile(path, "utf8").then(
    (text) => text.trim(),
    (cause: unknown) => {
      const sentence = `cannot read the password of metrics.basic_auth in ${path}: ${describeError(cause)}`;
      throw new RingtuneError("unauthenticated", sentence, { cause });
    },
  );
  if (password === "")
    throw new RingtuneError("unauthenticated", `the password of metrics.basic_auth in ${path} is empty`);
  return { ...credentials, login: { username, password } };
}

// How far a run can be reached: by which address it is called, and what others on the network could see. Decides nothing; what
// is refused is common/config/rules.ts.

import { hostname } from "node:os";
import type { Config } from "../common/config/schema.ts";
import { bracketed, isEveryAddress, isLoopback } from "../common/loopback.ts";

/** How workers call a coordinator that listens on this host and port. */
export function addressToCall(host: string, port: number): string {
  return `${bracketed(isEveryAddress(host) ? hostname() : host)}:${port}`;
}

/** A warning for everything that `insecure` opens. */
export function exposureOf({ cluster }: Config): string[] {
  if (!cluster.insecure) return [];
  if (cluster.certs !== undefined) {
    return ["warning: cluster.insecure: gradients and weights travel between the workers unencrypted"];
  }
  if (isLoopback(cluster.host)) return [];
  return [
    `warning: cluster.insecure: ${cluster.host} is beyond loopback, and tokens, data and gradients travel unencrypted`,
  ];
}

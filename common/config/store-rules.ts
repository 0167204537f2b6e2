// What can't work in cluster.store: where the coordinator keeps what it must not forget.

import { isLoopback } from "../loopback.ts";
import type { Problem } from "./rules.ts";
import type { Config } from "./schema.ts";

const section = "cluster.store";

export function storeRules({ cluster: { store }, checkpoint }: Config): Problem[] {
  if (store.kind === "embedded") return [];
  const problems: Problem[] = [];
  const add = (key: string, message: string, ...others: string[]): void => {
    const path = `${section}.${key}`;
    problems.push({ path, message, involves: [path, ...others] });
  };
  if (checkpoint.name === undefined) {
    const message = "etcd is for several coordinators of one run, and they know it by its name; give checkpoint.name";
    add("kind", message, "checkpoint.name");
  }
  for (const endpoint of store.endpoints) {
    const problem = endpointProblem(endpoint);
    if (problem !== undefined) add("endpoints", `${JSON.stringify(endpoint)} ${problem}`);
  }
  const secure = store.endpoints.filter((endpoint) => endpoint.startsWith("https:")).length;
  if (secure > 0 && secure < store.endpoints.length) {
    const plain = store.endpoints.length - secure;
    add("endpoints", `${secure} with https and ${plain} without can't be mixed; use https for all`);
  }
  if (store.certs !== undefined && secure === 0) {
    add("certs", `${JSON.stringify(store.certs)} is of no use with http; write https in ${section}.endpoints`);
  }
  if (store.username !== undefined && store.password_file === undefined) {
    const other = `${section}.password_file`;
    add("username", `${JSON.stringify(store.username)} has no password; give the file with it in ${other}`, other);
  }
  if (store.password_file !== undefined && store.username === undefined) {
    const other = `${section}.username`;
    add("password_file", `${JSON.stringify(store.password_file)} is nobody's; give ${other}`, other);
  }
  if (store.lease_s >= store.timeout_s) {
    const other = `${section}.timeout_s`;
    const message = `${store.lease_s} s is not below ${other} ${store.timeout_s} s, so the run would stop before another coordinator could take over; use a tenth of it`;
    add("lease_s", message, other);
  }
  return problems;
}

function endpointProblem(endpoint: string): string | undefined {
  const url = URL.canParse(endpoint) ? new URL(endpoint) : undefined;
  if (url === undefined || !["http:", "https:"].includes(url.protocol) || !["", "/"].includes(url.pathname)) {
    return "is not an endpoint of etcd; write http://HOST:PORT or https://HOST:PORT";
  }
  if (url.protocol === "https:" || isLoopback(url.hostname.replace(/^\[|\]$/g, ""))) return undefined;
  return "goes over the network without TLS, where anybody could read and change the state of the run; use https";
}

// All hosts of `ringtune launch`: opened at the same time, each with its line when it is ready or can't be. Whether those
// that are ready are enough is decided here, before anything is trained.

import { hostname } from "node:os";
import type { Config } from "../../common/config/schema.ts";
import { describeError, RingtuneError } from "../../common/errors.ts";
import { bracketed, isEveryAddress, isLoopback } from "../../common/loopback.ts";
import type { HostEntry } from "./host-list.ts";
import type { Site } from "./site.ts";
import { openRemoteHost, type RemoteHost, type RemoteOptions } from "./remote-host.ts";

/** What the user says of the hosts. */
export interface HostsRequest extends Pick<RemoteOptions, "ssh" | "directory" | "words" | "timeoutMs"> {
  readonly hosts: readonly HostEntry[];
  /** Name or address by which the hosts call this one, if it was given. */
  readonly address?: string;
}

/** Names in a sentence. */
const MAX_NAMED = 12;

/**
 * Resolves with the hosts that are ready. Throws RingtuneError `unavailable` when their workers are fewer than
 * cluster.min_workers, which is all of them by default; what is wrong with each has been told by then.
 */
export async function openHosts(
  request: HostsRequest,
  { cluster, train }: Pick<Config, "cluster" | "train">,
  run: string,
  { notice, signal }: { readonly notice: (line: string) => void; readonly signal: AbortSignal },
): Promise<Site[]> {
  const { hosts, address, ...how } = request;
  const names = hosts.slice(0, MAX_NAMED).map(({ host }) => host);
  const others = hosts.length > MAX_NAMED ? ` and ${hosts.length - MAX_NAMED} more` : "";
  notice(
    `connecting to ${hosts.length} host${hosts.length === 1 ? "" : "s"} by ${how.ssh[0]}: ${names.join(", ")}${others}`,
  );
  const start = performance.now();
  const failures: unknown[] = [];
  const open = async ({ host, slots }: HostEntry): Promise<RemoteHost[]> => {
    try {
      const { engine, device } = cluster;
      const wanted = {
        run,
        engine,
        device,
        shareDevices: cluster.share_devices,
        globalBatch: train.global_batch,
        ...(slots === undefined ? {} : { slots }),
      };
      const ready = await openRemoteHost({ ...how, host, prepare: { kind: "prepare", ...wanted }, signal });
      const seconds = ((performance.now() - start) / 1000).toFixed(1);
      const more = ready.notices.map((line) => `; ${line}`).join("");
      notice(`host ${host} is ready after ${seconds} s: ${ready.slots} worker${ready.slots === 1 ? "" : "s"}${more}`);
      return [ready];
    } catch (error) {
      failures.push(error);
      // What is wrong with the only one ends the launch.
      if (!signal.aborted && hosts.length > 1) notice(describeError(error));
      return [];
    }
  };
  const opened = (await Promise.all(hosts.map(open))).flat();
  const there = opened.reduce((sum, { slots }) => sum + slots, 0);
  const { min_workers: least } = cluster;
  const isEnough = failures.length === 0 || (least !== "all" && there >= least);
  if (!isEnough || opened.length === 0) {
    await Promise.all(opened.map((host) => host.close()));
    signal.throwIfAborted();
    if (hosts.length === 1) throw failures[0];
    const sentence = `${failures.length} of ${hosts.length} hosts can't take part, ${there} workers are left and cluster.min_workers is ${least}`;
    const first = `the first of them: ${describeError(failures[0])}`;
    throw new RingtuneError(
      "unavailable",
      `${sentence}; ${first}; mend them, leave them out, or begin with fewer by --min-workers`,
    );
  }
  // One that calls this host by loopback is this host; with others its workers would listen where those do not reach them.
  const isOneHost = opened.every(({ caller }) => caller !== undefined && isLoopback(caller));
  return opened.map((host) => {
    const { caller } = host;
    const seen = caller !== undefined && (isOneHost || !isLoopback(caller)) ? caller : hostname();
    return {
      ...host,
      callAt: (listening, port) => `${bracketed(address ?? (isEveryAddress(listening) ? seen : listening))}:${port}`,
    };
  });
}

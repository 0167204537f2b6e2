// Where a worker's ring listens, and by which address the others call it: on loopback when the coordinator is there, else at
// the address from which this host reaches the coordinator. Beyond loopback only with certificates, or when told.

import { createSocket } from "node:dgram";
import { lookup } from "node:dns/promises";
import { setTimeout as delay } from "node:timers/promises";
import { describeError, RingtuneError } from "../common/errors.ts";
import { isEveryAddress, isLoopback } from "../common/loopback.ts";

export interface RingAddressOptions {
  /** host:port */
  readonly coordinator: string;
  /** Address to listen on, if it was given. */
  readonly host?: string;
  /** Name or address by which other workers call it, if it was given. */
  readonly advertise?: string;
  readonly hasCertificates: boolean;
  readonly insecure: boolean;
  /** The coordinator's name may have to appear first. */
  readonly timeoutMs: number;
  readonly signal: AbortSignal;
}

export interface RingAddress {
  readonly host: string;
  readonly advertisedHost: string;
}

/** A name that nobody knows yet is looked up again so often. */
const LOOK_UP_EVERY_MS = 500;

/**
 * Throws `usage` when something would travel beyond loopback without certificates and nobody said `insecure`; `timed_out`
 * when the coordinator's name can't be resolved; the signal's reason when that aborts before.
 */
export async function chooseRingAddress(options: RingAddressOptions): Promise<RingAddress> {
  const { coordinator, hasCertificates, insecure } = options;
  const towards = await addressTowards(options);
  const { host = towards } = options;
  const beyond = [host, towards].find((address) => !isLoopback(address));
  if (beyond !== undefined && !hasCertificates && !insecure) {
    throw new RingtuneError(
      "usage",
      `the coordinator at ${coordinator} and the ring at ${beyond} are beyond loopback, where others would see tokens and data and could send gradients; start this worker with --certs, or with --insecure on a network that you trust`,
    );
  }
  return { host, advertisedHost: options.advertise ?? (isEveryAddress(host) ? towards : host) };
}

/** The local address of packets to the coordinator; none is sent. */
async function addressTowards({ coordinator, timeoutMs, signal }: RingAddressOptions): Promise<string> {
  const [, host = "", port = ""] = /^\[?(.+?)\]?:(\d+)$/.exec(coordinator) ?? [];
  const deadline = performance.now() + timeoutMs;
  for (;;) {
    signal.throwIfAborted();
    try {
      const { address, family } = await lookup(host);
      return await sourceOf(address, Number(port), family === 6 ? "udp6" : "udp4");
    } catch (cause) {
      if (performance.now() + LOOK_UP_EVERY_MS > deadline) {
        const sentence = `no way to the coordinator at ${coordinator} after ${timeoutMs} ms: ${describeError(cause)}; is the address right?`;
        throw new RingtuneError("timed_out", sentence, { cause });
      }
    }
    await delay(LOOK_UP_EVERY_MS, undefined, { signal }).catch(() => undefined);
  }
}

function sourceOf(address: string, port: number, type: "udp4" | "udp6"): Promise<string> {
  const socket = createSocket(type);
  return new Promise<string>((resolve, reject) => {
    socket.once("error", reject);
    socket.connect(port, address, () => resolve(socket.address().address));
  }).finally(() => socket.close());
}

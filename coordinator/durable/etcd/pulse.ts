// Tells those who stand by that the leader's process has ended, seconds before its lease does: each keeps a connection to
// it, which breaks when it ends, and then nobody listens there any more. Whatever else happens to the connection proves
// nothing and is left to the lease. Being wrong would cost a new election, no more: the old leader is fenced (medium.ts).

import { once } from "node:events";
import { connect, createServer, type AddressInfo, type Socket } from "node:net";
import { RingtuneError } from "../../../common/errors.ts";

export interface Pulse {
  readonly host: string;
  readonly port: number;
  /** What it says to who calls, so that another process with this port is not taken for it. */
  readonly name: string;
}

/** Answers with `name` on a free port of `host`, until the closer is called. */
export async function openPulse(host: string, name: string): Promise<Pulse & { close(): void }> {
  const calls = new Set<Socket>();
  const server = createServer((socket) => {
    calls.add(socket);
    socket.on("error", () => undefined).on("close", () => calls.delete(socket));
    socket.write(`${name}\n`);
  });
  server.listen(0, host).unref();
  await once(server, "listening").catch((cause: unknown) => {
    throw new RingtuneError("address_in_use", `cannot listen on ${host} for the coordinators that stand by`, { cause });
  });
  const { port } = server.address() as AddressInfo;
  const close = (): void => {
    server.close();
    calls.forEach((socket) => socket.destroy());
  };
  return { host, port, name, close };
}

/** Calls `gone` once if the process that has this pulse ends, and was met before. Returns how to stop watching. */
export function watchPulse(pulse: Pulse, gone: () => void): () => void {
  let socket: Socket | undefined;
  let met = false;
  let stopped = false;
  let pauseMs = callAgainMs;

  function call(): void {
    let said = "";
    let refused = false;
    const current = connect({ host: pulse.host, port: pulse.port });
    socket = current;
    current.unref().setEncoding("utf8");
    current.on("error", ({ code }: NodeJS.ErrnoException) => (refused = code === "ECONNREFUSED"));
    current.on("data", (text: string) => (said += text));
    current.on("close", () => {
      if (stopped) return;
      const wasSame = said === `${pulse.name}\n`;
      if (met && (refused || (said !== "" && !wasSame))) return gone();
      met ||= wasSame;
      // A process that ends may take a call and reset it before nobody listens any more.
      pauseMs = wasSame ? lookAfterMs : met ? Math.min(2 * pauseMs, callAgainMs) : callAgainMs;
      setTimeout(() => stopped || call(), pauseMs).unref();
    });
  }

  call();
  return () => {
    stopped = true;
    socket?.destroy();
  };
}

/** A connection that broke is looked into soon and again, less and less often; one that can't be made now and then. */
const lookAfterMs = 5;
const callAgainMs = 1000;

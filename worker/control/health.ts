// What Kubernetes, systemd or a person asks a worker: GET /healthz (should it be restarted?) and GET /readyz (does it take
// part in a generation?). Served by the control thread, so it answers while the main thread computes. It decides nothing:
// a worker that is slow or silent is the coordinator's business.

import { createServer, type Server } from "node:http";
import type { AddressInfo } from "node:net";
import { RingtuneError } from "../../common/errors.ts";

export interface HealthOptions {
  readonly host: string;
  /** 0 takes a free one. */
  readonly port: number;
}

export interface Health {
  /** "http://127.0.0.1:9470/healthz" */
  readonly url: string;
  /** What the worker does now, for the body of the answers. */
  doing(sentence: string): void;
  /** It calls the coordinator, or calls again. */
  calling(): void;
  /** The coordinator answers. */
  opened(): void;
  /** It holds weights and a place in a generation. */
  formed(): void;
  /** The stream to the coordinator is over. */
  closed(): void;
}

/** A worker without a stream ends, or calls again, within this time; one that does neither hangs. */
const hangsAfterMs = 60_000;

type State =
  { readonly kind: "connecting" | "joined" | "ready" } | { readonly kind: "closed"; readonly sinceMs: number };

/** Until the process ends. Throws `address_in_use` when the port is taken, `usage` when the address can't be listened on. */
export async function serveHealth({ host, port }: HealthOptions, nowMs = () => performance.now()): Promise<Health> {
  let state: State = { kind: "connecting" };
  let activity = "connecting to the coordinator";
  const hangs = (): boolean => state.kind === "closed" && nowMs() - state.sinceMs > hangsAfterMs;
  const server = createServer((request, response) => {
    const path = (request.url ?? "/").split("?")[0];
    const isGood = path === "/healthz" ? !hangs() : path === "/readyz" ? state.kind === "ready" : undefined;
    const status = isGood === undefined ? 404 : isGood ? 200 : 503;
    const sentence = isGood === undefined ? "not found; try /healthz or /readyz" : `${state.kind}: ${activity}`;
    response.writeHead(status, { "Content-Type": "text/plain; charset=utf-8" }).end(`${sentence}\n`);
    request.resume();
  });
  server.headersTimeout = 10_000;
  server.requestTimeout = 10_000;
  server.maxConnections = 16;
  await listen(server, host, port);
  server.unref(); // It is no reason to stay.
  return {
    url: `http://${host.includes(":") ? `[${host}]` : host}:${(server.address() as AddressInfo).port}/healthz`,
    doing: (sentence) => (activity = sentence),
    calling: () => (state = { kind: "connecting" }),
    opened: () => (state = { kind: "joined" }),
    formed: () => (state = { kind: "ready" }),
    closed: () => (state = { kind: "closed", sinceMs: nowMs() }),
  };
}

function listen(server: Server, host: string, port: number): Promise<void> {
  return new Promise((resolve, reject) => {
    server.once("error", (cause: NodeJS.ErrnoException) => {
      const isTaken = cause.code === "EADDRINUSE";
      const why = isTaken ? "another process listens there; 0 takes a free port" : (cause.code ?? cause.message);
      const message = `can't answer health checks on ${host}:${port}: ${why}`;
      reject(new RingtuneError(isTaken ? "address_in_use" : "usage", message, { cause, details: { host, port } }));
    });
    server.listen({ host, port, exclusive: true }, resolve);
  });
}

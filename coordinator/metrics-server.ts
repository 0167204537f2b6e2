// GET /metrics, /healthz and /readyz over HTTP, for Prometheus, Kubernetes and people. Nothing can be changed through it.

import { createServer, type IncomingMessage, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";
import { RingtuneError } from "../common/errors.ts";
import type { Metrics } from "./metrics.ts";

export interface MetricsServer {
  /** "http://127.0.0.1:9464/metrics" */
  readonly url: string;
  /** Ends open connections too. */
  close(): Promise<void>;
}

/**
 * Serves until `close`; port 0 takes a free one.
 * Throws RingtuneError `address_in_use` when the port is busy, `config_invalid` when the address can't be listened on.
 */
export async function serveMetrics(options: {
  readonly host: string;
  readonly port: number;
  readonly metrics: Pick<Metrics, "text" | "contentType">;
  /** Whether workers are welcome, for /readyz. Left out: always. */
  readonly isReady?: () => boolean;
}): Promise<MetricsServer> {
  const { host, port, metrics, isReady = () => true } = options;
  const server = createServer((request, response) => {
    answer(request, response, metrics, isReady).catch((error: unknown) => {
      if (!response.headersSent) reply(response, 500, `cannot collect the metrics: ${String(error)}\n`);
      else response.destroy();
    });
  });
  // A scrape takes milliseconds; who takes longer to ask is not Prometheus.
  server.headersTimeout = 10_000;
  server.requestTimeout = 10_000;
  server.maxConnections = 64;
  await new Promise<void>((resolve, reject) => {
    server.once("error", (error: NodeJS.ErrnoException) => reject(listenError(error, host, port)));
    server.listen({ host, port, exclusive: true }, resolve);
  });
  const bound = (server.address() as AddressInfo).port;
  return {
    url: `http://${host.includes(":") ? `[${host}]` : host}:${bound}/metrics`,
    close: () =>
      new Promise((resolve, reject) => {
        server.close((error) => (error ? reject(error) : resolve()));
        server.closeAllConnections();
      }),
  };
}

async function answer(
  request: IncomingMessage,
  response: ServerResponse,
  metrics: Pick<Metrics, "text" | "contentType">,
  isReady: () => boolean,
): Promise<void> {
  const path = (request.url ?? "/").split("?")[0];
  if (path !== "/metrics" && path !== "/healthz" && path !== "/readyz") {
    return reply(response, 404, "not found; try /metrics\n");
  }
  if (request.method !== "GET" && request.method !== "HEAD") {
    response.setHeader("Allow", "GET, HEAD");
    return reply(response, 405, `${request.method} is not allowed; use GET\n`);
  }
  if (path === "/healthz") return reply(response, 200, "ok\n");
  if (path === "/readyz")
    return isReady() ? reply(response, 200, "ok\n") : reply(response, 503, "preparing the data\n");
  reply(response, 200, await metrics.text(), metrics.contentType);
}

function reply(response: ServerResponse, status: number, body: string, type = "text/plain; charset=utf-8"): void {
  // Node leaves the body out of an answer to HEAD by itself.
  response.writeHead(status, { "Content-Type": type, "Content-Length": Buffer.byteLength(body) }).end(body);
}

function listenError(error: NodeJS.ErrnoException, host: string, port: number): RingtuneError {
  const details = { host, port, code: error.code ?? "" };
  if (error.code === "EADDRINUSE") {
    const message = `can't serve metrics on ${host}:${port}: another process listens there; stop it, or set metrics.port to another port (0 takes a free one)`;
    return new RingtuneError("address_in_use", message, { details, cause: error });
  }
  const why =
    error.code === "EACCES"
      ? "permission denied; ports below 1024 are for root, set metrics.port to a higher one"
      : error.code === "EADDRNOTAVAIL" || error.code === "ENOTFOUND" || error.code === "EAI_AGAIN"
        ? "this host has no such address; set metrics.host to one that it has, such as 127.0.0.1"
        : `${error.code ?? error.message}`;
  const message = `can't serve metrics on ${host}:${port}: ${why}`;
  return new RingtuneError("config_invalid", message, { details, cause: error });
}

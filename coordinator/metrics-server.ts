// GET /metrics, /healthz and /readyz over HTTP, for Prometheus, Kubernetes and people. Nothing can be changed through it.
// With credentials it speaks TLS, with a password /metrics asks for it; health is nobody's secret. However many ask at
// once, the metrics are collected once at a time, and no more often than a limit.

import { createHash, timingSafeEqual } from "node:crypto";
import { createServer, type IncomingMessage, type Server, type ServerResponse } from "node:http";
import { createServer as createTlsServer } from "node:https";
import type { AddressInfo, Socket } from "node:net";
import type { Credentials } from "../common/certificates.ts";
import { RingtuneError } from "../common/errors.ts";
import type { Metrics } from "./metrics.ts";

/** Of HTTP's basic authentication. */
export interface Login {
  readonly username: string;
  readonly password: string;
}

export interface MetricsServer {
  /** "http://127.0.0.1:9464/metrics" */
  readonly url: string;
  /** Ends open connections too. */
  close(): Promise<void>;
}

/**
 * Why the metrics were not given; values of a metric's label. full: there were as many connections as there may be. rate: too many
 * requests a second. password: none, or a wrong one. unread: it does not read the answer.
 */
export const scrapeRefusals = ["full", "rate", "password", "unread"] as const;
export type ScrapeRefusal = (typeof scrapeRefusals)[number];

export interface ServeMetricsOptions {
  readonly host: string;
  readonly port: number;
  readonly metrics: Pick<Metrics, "text" | "contentType">;
  /** Whether workers are welcome, for /readyz. Left out: always. */
  readonly isReady?: () => boolean;
  /** For TLS; clients need no certificate. */
  readonly credentials?: Credentials;
  /** Who may read the metrics. Left out: everybody. */
  readonly login?: Login;
  /** How long a connection may stand still. */
  readonly idleMs?: number;
  /** Hears of everybody who did not get them. */
  readonly refused?: (why: ScrapeRefusal) => void;
}

/**
 * Serves until `close`; port 0 takes a free one.
 * Throws RingtuneError `address_in_use` when the port is busy, `config_invalid` when the address can't be listened on.
 */
export async function serveMetrics(options: ServeMetricsOptions): Promise<MetricsServer> {
  const { host, port, isReady = () => true, credentials, login, refused = () => undefined, idleMs = 30_000 } = options;
  const metrics = collectTogether(options.metrics);
  const isLimited = createRate(SCRAPES_PER_SECOND);
  const server = listener(credentials, (request, response) => {
    answer(request, response, { metrics, isReady, isLimited, login, refused }).catch((error: unknown) => {
      if (!response.headersSent) reply(response, 500, `cannot collect the metrics: ${String(error)}\n`);
      else response.destroy();
    });
  });
  // A scrape takes milliseconds; who takes longer to ask is not Prometheus.
  server.headersTimeout = 10_000;
  server.requestTimeout = 10_000;
  server.maxConnections = 64;
  server.on("drop", () => refused("full"));
  // Who does not read the answer does not keep it in memory for ever.
  server.timeout = idleMs;
  server.on("timeout", (socket: Socket) => {
    if (socket.writableLength > 0) refused("unread");
    socket.destroy();
  });
  await new Promise<void>((resolve, reject) => {
    server.once("error", (error: NodeJS.ErrnoException) => reject(listenError(error, host, port)));
    server.listen({ host, port, exclusive: true }, resolve);
  });
  const bound = (server.address() as AddressInfo).port;
  return {
    url: `${credentials === undefined ? "http" : "https"}://${host.includes(":") ? `[${host}]` : host}:${bound}/metrics`,
    close: () =>
      new Promise((resolve, reject) => {
        server.close((error) => (error ? reject(error) : resolve()));
        server.closeAllConnections();
      }),
  };
}

type Handler = (request: IncomingMessage, response: ServerResponse) => void;

/** Ten Prometheus servers that scrape every second, with some room. */
const SCRAPES_PER_SECOND = 50;

function listener(credentials: Credentials | undefined, handle: Handler): Server {
  if (credentials === undefined) return createServer(handle);
  const { certificate: cert, key } = credentials;
  return createTlsServer({ cert, key, minVersion: "TLSv1.2", handshakeTimeout: 10_000 }, handle);
}

/** Whoever asks while the metrics are being collected gets the same text. */
function collectTogether(metrics: Pick<Metrics, "text" | "contentType">): Pick<Metrics, "text" | "contentType"> {
  let collecting: Promise<string> | undefined;
  return {
    contentType: metrics.contentType,
    text: () => (collecting ??= metrics.text().finally(() => (collecting = undefined))),
  };
}

/** Whether more than so many calls came within a second. */
function createRate(perSecond: number): () => boolean {
  let left = perSecond;
  let before = performance.now();
  return () => {
    const now = performance.now();
    left = Math.min(perSecond, left + ((now - before) / 1000) * perSecond);
    before = now;
    if (left < 1) return true;
    left--;
    return false;
  };
}

/** Compares hashes, which have one length, in a time that says nothing. */
function isAllowed({ authorization = "" }: IncomingMessage["headers"], { username, password }: Login): boolean {
  const wanted = `Basic ${Buffer.from(`${username}:${password}`).toString("base64")}`;
  const [given, expected] = [authorization, wanted].map((text) => createHash("sha256").update(text).digest());
  return timingSafeEqual(given!, expected!);
}

interface Answering {
  readonly metrics: Pick<Metrics, "text" | "contentType">;
  readonly isReady: () => boolean;
  readonly isLimited: () => boolean;
  readonly login: Login | undefined;
  readonly refused: (why: ScrapeRefusal) => void;
}

async function answer(
  request: IncomingMessage,
  response: ServerResponse,
  { metrics, isReady, isLimited, login, refused }: Answering,
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
  // Before the password is looked at, so that it can't be guessed any faster.
  if (isLimited()) {
    refused("rate");
    response.setHeader("Retry-After", "1").setHeader("Connection", "close");
    return reply(response, 429, `more than ${SCRAPES_PER_SECOND} requests a second; scrape less often\n`);
  }
  if (login !== undefined && !isAllowed(request.headers, login)) {
    refused("password");
    response.setHeader("WWW-Authenticate", 'Basic realm="ringtune metrics", charset="UTF-8"');
    return reply(response, 401, "the user name or the password is wrong, or there is none; see metrics.basic_auth\n");
  }
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

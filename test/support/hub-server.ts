// The few endpoints of the Hub that are used, on a real HTTP server of this host: what a revision is, the files of a
// commit, and their bytes, large ones through a redirect to another origin. Faults are given from outside.

import { createHash } from "node:crypto";
import { createServer, type IncomingMessage, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";
import { onTestFinished } from "vitest";

export interface HubRequest {
  readonly path: string;
  readonly range: string | undefined;
  readonly authorization: string | undefined;
  /** Whether it came to the origin that large files are redirected to. */
  readonly atStore: boolean;
}

/** Answers in place of the server, or leaves it to the server with false. */
export type Fault = (request: HubRequest, response: ServerResponse, contents: Buffer | undefined) => boolean;

export interface HubServer {
  /** For HF_ENDPOINT. */
  readonly url: string;
  readonly commit: string;
  readonly requests: HubRequest[];
  /** Of model "acme/tiny", by name. Files of more than 1 kB are large ones. */
  files: Record<string, Buffer | string>;
  fault: Fault;
  close(): Promise<void>;
}

export const repository = "acme/tiny";
const commit = "0123456789abcdef0123456789abcdef01234567";
const largeBytes = 1000;

export async function startHubServer(files: HubServer["files"]): Promise<HubServer> {
  const hub: HubServer = { url: "", commit, requests: [], files, fault: () => false, close };
  const store = createServer((request, response) => answer(request, response, true));
  const server = createServer((request, response) => answer(request, response, false));
  const [storeUrl, url] = [await listen(store), await listen(server)];

  function answer(request: IncomingMessage, response: ServerResponse, atStore: boolean): void {
    const path = decodeURIComponent(new URL(request.url!, "http://host").pathname);
    const { range, authorization } = request.headers;
    const seen: HubRequest = { path, range, authorization, atStore };
    hub.requests.push(seen);
    const name = path.split("/").at(-1)!;
    const contents = hub.files[name] === undefined ? undefined : Buffer.from(hub.files[name]);
    if (hub.fault(seen, response, contents)) return;
    if (path === `/api/models/${repository}/revision/main`) return json(response, { id: repository, sha: commit });
    if (path.startsWith(`/api/models/${repository}/revision/`)) return missing(response, "RevisionNotFound");
    if (path === `/api/models/${repository}/tree/${commit}`)
      return json(response, Object.entries(hub.files).map(entry));
    const isFile = path === `/${repository}/resolve/${commit}/${name}`;
    if (!isFile || contents === undefined) return missing(response, "RepoNotFound");
    if (contents.length > largeBytes && !atStore) {
      response.writeHead(302, { location: storeUrl + path }).end();
      return;
    }
    sendPart(response, contents, range);
  }

  async function close(): Promise<void> {
    for (const one of [server, store]) {
      one.closeAllConnections();
      await new Promise((resolve) => one.close(resolve));
    }
  }
  onTestFinished(close);
  return Object.assign(hub, { url });
}

/** As a server of files does: the whole, or from a byte on. */
export function sendPart(response: ServerResponse, contents: Buffer, range: string | undefined): void {
  const [, from] = /^bytes=(\d+)-/.exec(range ?? "") ?? [];
  if (from === undefined) {
    response.writeHead(200, { "content-length": contents.length }).end(contents);
    return;
  }
  const part = contents.subarray(Number(from));
  const place = `bytes ${from}-${contents.length - 1}/${contents.length}`;
  response.writeHead(206, { "content-length": part.length, "content-range": place }).end(part);
}

function entry([path, contents]: [string, Buffer | string]): object {
  const bytes = Buffer.from(contents);
  const oid = createHash("sha1").update(`blob ${bytes.length}\0`).update(bytes).digest("hex");
  const own = { type: "file", path, size: bytes.length, oid };
  if (bytes.length <= largeBytes) return own;
  const lfs = { oid: createHash("sha256").update(bytes).digest("hex"), size: bytes.length, pointerSize: 130 };
  return { ...own, lfs, xetHash: "a".repeat(64) };
}

function json(response: ServerResponse, value: unknown): void {
  response.writeHead(200, { "content-type": "application/json" }).end(JSON.stringify(value));
}

function missing(response: ServerResponse, code: string): void {
  const error = code === "RepoNotFound" ? "Repository not found" : "Invalid rev id";
  response.writeHead(404, { "content-type": "application/json", "x-error-code": code }).end(JSON.stringify({ error }));
}

async function listen(server: ReturnType<typeof createServer>): Promise<string> {
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  return `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
}

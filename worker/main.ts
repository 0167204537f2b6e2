// The worker process: `ringtune worker`. One per device. It binds its end of the ring, calls the coordinator and works
// until the run is over.

import { randomBytes } from "node:crypto";
import { readFile } from "node:fs/promises";
import { readCredentials } from "../common/certificates.ts";
import { Command, InvalidArgumentError, makeStrict, Option, runProgram, wholeNumber } from "../common/command-line.ts";
import { describeError, RingtuneError } from "../common/errors.ts";
import { isLoopback } from "../common/loopback.ts";
import { readSecrets, type Secrets } from "../common/secrets.ts";
import type { Reach } from "./collective/address.ts";
import { createCollectiveEndpoint } from "./collective/zeromq.ts";
import { chooseRingAddress, type RingAddress } from "./ring-address.ts";
import { runSession } from "./train/session.ts";
import { createWorkerLog } from "./worker-log.ts";

interface Options {
  readonly coordinator: readonly string[];
  readonly id: string;
  readonly tokenFile?: string;
  readonly secrets: boolean;
  readonly certs?: string;
  readonly device?: string;
  readonly threads?: number;
  readonly host?: string;
  readonly advertise?: string;
  readonly ringPort: number;
  readonly reach: Reach;
  readonly insecure: boolean;
  readonly timeout: number;
  readonly patience: number;
  readonly log?: "text" | "json";
  readonly health?: number;
  readonly healthHost: string;
}

const command = new Command("ringtune worker")
  .description("Compute for a coordinator: one process for each device.")
  .requiredOption(
    "--coordinator <host:port>",
    "address of the coordinator, or of all that may lead: HOST:PORT,HOST:PORT",
    parseAddresses,
  )
  .option("--id <name>", "name of this worker in messages and metrics", `w-${randomBytes(3).toString("hex")}`)
  .option("--token-file <file>", "file with the run's join token (default: the RINGTUNE_JOIN_TOKEN variable)")
  .option("--secrets", "read token and certificates from standard input; for programs that start workers", false)
  .option("--certs <folder>", "certificate folder, when the coordinator has one: ca.pem, worker.pem, worker-key.pem")
  .option("--device <name>", "execution provider, instead of the config's")
  .option("--threads <n>", "compute threads, instead of the config's", wholeNumber(1))
  .option("--host <address>", "address that the ring listens on (default: the one that reaches the coordinator)")
  .option("--advertise <host>", "name or address by which other workers call the ring, if not that of --host")
  .option(
    "--ring-port <n>",
    "port that the ring listens on, and the next one with train.overlap; 0 takes free ones",
    parsePort,
    0,
  )
  .addOption(
    new Option("--reach <way>", "the fastest way that workers on this host may use: memory, ipc or tcp")
      .choices(["memory", "ipc", "tcp"])
      .default("memory"),
  )
  .option("--insecure", "go beyond loopback without --certs, and with --certs leave the ring unencrypted", false)
  .option("--timeout <seconds>", "how long to wait for the coordinator", wholeNumber(1), 30)
  .option(
    "--patience <seconds>",
    "how long the coordinator may be silent before another connection is tried; 0: as long as the connection stands",
    wholeNumber(0),
    30,
  )
  .addOption(
    new Option("--log <form>", "lines for people, or JSON for programs (default: JSON when it is no terminal)").choices(
      ["text", "json"],
    ),
  )
  .option("--health <port>", "answer GET /healthz and /readyz on this port; 0 takes a free one", parsePort)
  .option("--health-host <address>", "address that --health listens on", "127.0.0.1")
  .action(run);

async function run(options: Options): Promise<void> {
  const leave = new AbortController();
  const drain = new AbortController();
  // SIGTERM is how Kubernetes, Slurm and systemd ask a process to go: it finishes its step first. A second one, or Ctrl-C,
  // does not wait.
  process.once("SIGINT", () => leave.abort(new RingtuneError("cancelled", "stopped by SIGINT")));
  process.on("SIGTERM", () => {
    if (drain.signal.aborted) leave.abort(new RingtuneError("cancelled", "stopped by SIGTERM"));
    else drain.abort(new RingtuneError("cancelled", "stopped by SIGTERM"));
  });
  const form = options.log ?? (process.stdout.isTTY ? "text" : "json");
  const log = createWorkerLog({ worker: options.id, form, stream: process.stdout });
  const { joinToken, credentials } = await readOwnSecrets(options);
  const rings: RingAddress[] = [];
  // None of them may be where others would listen.
  for (const coordinator of options.coordinator) {
    const address = await chooseRingAddress({
      ...options,
      coordinator,
      hasCertificates: credentials !== undefined,
      timeoutMs: options.timeout * 1000,
      signal: AbortSignal.any([leave.signal, drain.signal]),
    });
    rings.push(address);
  }
  const ring = rings.find(({ host }) => !isLoopback(host)) ?? rings[0]!;
  const warning = warningOf(options.insecure, credentials !== undefined, ring);
  if (warning !== undefined) process.stderr.write(`warning: ${warning}\n`);
  const { ringPort, reach } = options;
  const way = { ...ring, reach, encrypted: credentials !== undefined && !options.insecure };
  const endpoint = await createCollectiveEndpoint({ ...way, port: ringPort });
  const { reason, drained } = await runSession({
    coordinators: options.coordinator,
    workerId: options.id,
    joinToken,
    endpoint,
    second: { ...way, port: ringPort === 0 ? 0 : ringPort + 1 },
    connectTimeoutMs: options.timeout * 1000,
    silenceMs: options.patience * 1000,
    signal: leave.signal,
    ...(credentials === undefined ? {} : { credentials }),
    drain: drain.signal,
    ...(options.health === undefined ? {} : { health: { host: options.healthHost, port: options.health } }),
    healthy: (url) => log.write(`health checks at ${url}`),
    log,
    ...(options.device === undefined ? {} : { device: options.device }),
    ...(options.threads === undefined ? {} : { threads: options.threads }),
  });
  log.write(drained ? `left the run: ${reason}` : `the run is over: ${reason}`, { told: true });
}

/** What --insecure opens. */
function warningOf(insecure: boolean, hasCertificates: boolean, { host }: RingAddress): string | undefined {
  if (!insecure || isLoopback(host)) return undefined;
  return !hasCertificates
    ? `--insecure: the ring listens at ${host}, beyond loopback; the join token, data and gradients travel unencrypted`
    : `--insecure: the ring at ${host} is not encrypted; gradients and weights can be read on their way`;
}

async function readOwnSecrets(options: Options): Promise<Secrets> {
  if (options.secrets) return readSecrets(process.stdin);
  const joinToken = await readToken(options);
  return options.certs === undefined
    ? { joinToken }
    : { joinToken, credentials: await readCredentials(options.certs, "worker") };
}

async function readToken({ tokenFile }: Options): Promise<string> {
  if (tokenFile === undefined) return process.env["RINGTUNE_JOIN_TOKEN"] ?? "";
  try {
    return (await readFile(tokenFile, "utf8")).trim();
  } catch (cause) {
    throw new RingtuneError("usage", `cannot read the join token: ${describeError(cause)}`, { cause });
  }
}

function parseAddresses(value: string): string[] {
  const addresses = value.split(",").map((address) => address.trim());
  for (const address of addresses) {
    const port = Number(/^.+:(\d+)$/.exec(address)?.[1]);
    if (!(port >= 1 && port <= 65535)) throw new InvalidArgumentError("Give host:port, such as 127.0.0.1:7447.");
  }
  return addresses;
}

function parsePort(value: string): number {
  const port = wholeNumber(0)(value);
  if (port > 65535) throw new InvalidArgumentError("The largest port is 65535.");
  return port;
}

await runProgram("ringtune worker", async () => {
  await makeStrict(command).parseAsync();
});

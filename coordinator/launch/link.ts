// One ssh connection to `ringtune host` on another host: opened with a time limit, then orders and reports, until one of
// both sides goes. What is wrong with a host is one sentence with its name and how long it was waited for.

import { spawn } from "node:child_process";
import { RingtuneError, type ErrorCode } from "../../common/errors.ts";
import { packageVersion } from "../../common/package-root.ts";
import { remoteCommand, exitCodes, type RemoteProgram } from "./command.ts";
import {
  ALIVE_EVERY_MS,
  eachLine,
  LAUNCH_VERSION,
  parseLine,
  reportSchema,
  writeLine,
  type Order,
  type Report,
} from "./orders.ts";

export interface LinkOptions extends RemoteProgram {
  readonly host: string;
  /** The user's ssh and its options: ["ssh", "-p", "2222"]. */
  readonly ssh: readonly string[];
  /** Connecting, logging in and the first answer of Ringtune there may take so long together. */
  readonly timeoutMs: number;
  readonly prepare: Extract<Order, { kind: "prepare" }>;
  readonly report: (report: Extract<Report, { kind: "started" | "ended" | "line" }>) => void;
  /** The connection is gone, in words: "ssh ended with exit code 255: Connection reset by peer". After it was open. */
  readonly lost: (why: string) => void;
  readonly signal?: AbortSignal;
}

export interface Link {
  readonly slots: number;
  readonly notices: readonly string[];
  /** The address of this host as the other one sees it, if sshd says so. */
  readonly caller: string | undefined;
  send(order: Order): void;
  /** Resolves when ssh has ended; the host ends what still runs there. */
  close(): Promise<void>;
}

/** A host that is to go has so long before ssh is ended. */
const CLOSE_MS = 15_000;
/** Of what is said before the first report, and of ssh's own words, so much is kept. */
const KEPT_LINES = 20;

/**
 * Resolves when the host is ready for workers. Throws RingtuneError `unavailable`, `protocol_mismatch` or
 * `engine_unavailable`, in one sentence, when it is not.
 */
export async function openLink(options: LinkOptions): Promise<Link> {
  const { host, ssh, timeoutMs, prepare, signal } = options;
  signal?.throwIfAborted();
  const start = performance.now();
  const seconds = (): string => ((performance.now() - start) / 1000).toFixed(1);
  const [command = "ssh", ...more] = ssh;
  const own = ["-o", "BatchMode=yes", "-o", `ConnectTimeout=${Math.ceil(timeoutMs / 1000)}`];
  const watch = ["-o", "ServerAliveInterval=15", "-o", "ServerAliveCountMax=3", "-T"];
  // In a session of its own: Ctrl-C reaches the coordinator alone, which lets the workers finish. When this process is gone,
  // however it went, ssh finds its standard input closed, and so does the host.
  const child = spawn(command, [...more, ...own, ...watch, host, remoteCommand(options)], {
    detached: true,
    stdio: ["pipe", "pipe", "pipe"],
  });
  const said: string[] = [];
  const chatter: string[] = [];
  const keep = (lines: string[], line: string): void => {
    if (line.trim() !== "") lines.push(line.trim().slice(0, 500));
    if (lines.length > KEPT_LINES) lines.shift();
  };
  eachLine(child.stderr, (line) => keep(said, line));
  child.stdin.on("error", () => undefined);
  const send = (order: Order): void => writeLine(child.stdin, order);
  const alive = setInterval(() => send({ kind: "alive" }), ALIVE_EVERY_MS);

  let isOpen = false;
  let isClosing = false;
  const ended = new Promise<string>((resolve) => {
    child.once("error", (error) => resolve(`${command} can't be started here: ${error.message}`));
    child.once("close", (code, by) => {
      const how = by === null ? `ssh ended with exit code ${code}` : `ssh was killed by ${by}`;
      const why = lastWords(said);
      resolve(why === undefined ? how : `${how}: ${why}`);
    });
  });
  void ended.then((why) => {
    clearInterval(alive);
    if (isOpen && !isClosing) options.lost(why);
  });

  let caller: string | undefined;
  let patience: NodeJS.Timeout | undefined;
  let abandon: (() => void) | undefined;
  try {
    const prepared = await new Promise<Extract<Report, { kind: "prepared" }>>((resolve, reject) => {
      const fail = (code: ErrorCode, what: string): void => reject(new RingtuneError(code, `host ${host} ${what}`));
      let answered = false;
      eachLine(child.stdout, (line) => {
        const report = parseLine(reportSchema, line);
        if (report === undefined) return keep(chatter, line);
        switch (report.kind) {
          case "hello": {
            answered = true;
            ({ caller } = report);
            const { version, launch } = report;
            if (version === packageVersion && launch === LAUNCH_VERSION) return send(prepare);
            const what = `has Ringtune ${version} (launch ${launch}) at ${options.words.at(-1)}, and this host ${packageVersion} (launch ${LAUNCH_VERSION}); install the same on both`;
            return fail("protocol_mismatch", what);
          }
          case "prepared":
            return resolve(report);
          case "unfit":
            return fail("engine_unavailable", report.reason);
          case "line":
          case "started":
          case "ended":
            return options.report(report);
        }
      });
      patience = setTimeout(() => {
        const heard = lastWords(said) ?? lastWords(chatter);
        const but = heard === undefined ? "" : ` (it said: ${heard})`;
        const what = answered
          ? `answered, and did not look at its devices within ${timeoutMs / 1000} s`
          : `did not answer within ${timeoutMs / 1000} s${but}`;
        fail("unavailable", what);
      }, timeoutMs);
      abandon = () => reject(signal?.reason as Error);
      signal?.addEventListener("abort", abandon, { once: true });
      void ended.then((why) => {
        const heard = lastWords(said) ?? lastWords(chatter);
        const [code, what] = describeFailure(child.exitCode, why, heard, seconds(), options);
        fail(code, what);
      });
    });
    isOpen = true;
    return {
      slots: prepared.slots,
      notices: prepared.notices,
      caller,
      send,
      async close() {
        isClosing = true;
        child.stdin.end();
        const kill = setTimeout(() => child.kill("SIGKILL"), CLOSE_MS);
        await ended;
        clearTimeout(kill);
      },
    };
  } catch (error) {
    isClosing = true;
    child.kill("SIGKILL");
    child.stdin.destroy();
    throw error;
  } finally {
    clearTimeout(patience);
    if (abandon !== undefined) signal?.removeEventListener("abort", abandon);
  }
}

/** What follows the name of the host. */
export function describeFailure(
  exitCode: number | null,
  ended: string,
  heard: string | undefined,
  seconds: string,
  { directory, words }: RemoteProgram,
): [ErrorCode, string] {
  const said = heard === undefined ? "" : `: ${heard}`;
  const program = words.at(-1) ?? "";
  switch (exitCode) {
    case exitCodes.noDirectory:
      return ["engine_unavailable", `has no directory ${directory}${said}; name another with --directory`];
    case exitCodes.noProgram:
      return ["engine_unavailable", `has no Ringtune at ${program}; install it there, or name it with --program`];
    case 126:
    case 127:
      return ["engine_unavailable", `can't run ${words[0]}${said}; install it there, or name Ringtune with --program`];
    case 2:
      return ["protocol_mismatch", `has another Ringtune at ${program}, which does not know this order${said}`];
    case 255:
      break;
    default:
      return ["unavailable", `could not be started after ${seconds} s: ${ended}`];
  }
  if (/permission denied|too many authentication failures/i.test(heard ?? "")) {
    return [
      "unauthenticated",
      `refused this user's key after ${seconds} s${said}; try: ssh -o BatchMode=yes HOST true`,
    ];
  }
  if (/host key verification failed|identification has changed|no .*host key is known/i.test(heard ?? "")) {
    return ["unauthenticated", `has a host key that ssh does not know${said}; log in once by hand, and compare it`];
  }
  if (/could not resolve/i.test(heard ?? "")) return ["unavailable", `is a name that ssh can't resolve${said}`];
  return ["unavailable", `can't be reached by ssh after ${seconds} s${said}`];
}

/** The last line that is no warning of ssh. */
function lastWords(lines: readonly string[]): string | undefined {
  return lines.findLast((line) => !/^(\*\*|warning: permanently added)/i.test(line));
}

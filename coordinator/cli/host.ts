// `ringtune host`: what `ringtune launch` starts on each host over ssh. For programs: it speaks lines of JSON.

import { Command } from "../../common/command-line.ts";
import { serveHost } from "../launch/serve-host.ts";

export function buildHostCommand(): Command {
  return new Command("host")
    .description("start and watch the workers of this host, as ringtune launch orders it on standard input")
    .action(async () => {
      const stop = new AbortController();
      // sshd's, when the connection ends.
      for (const signal of ["SIGHUP", "SIGINT", "SIGTERM"] as const) process.on(signal, () => stop.abort());
      await serveHost({ input: process.stdin, output: process.stdout, signal: stop.signal });
      process.stdin.destroy();
    });
}

// `ringtune launch`: a coordinator here, and workers on other hosts, started over the user's own ssh.

import { readFile } from "node:fs/promises";
import { fileURLToPath } from "node:url";
import { Command, InvalidArgumentError, wholeNumber } from "../../common/command-line.ts";
import type { Override } from "../../common/config/overrides.ts";
import { describeError, RingtuneError } from "../../common/errors.ts";
import { isLoopback } from "../../common/loopback.ts";
import { wordsOf } from "../launch/command.ts";
import { completeHosts, parseHostFile, parseHosts, type HostEntry } from "../launch/host-list.ts";
import type { HostsRequest } from "../launch/hosts.ts";
import { readConfig, runCommand, withRunOptions, type RunCommandOptions } from "./train.ts";

interface LaunchCommandOptions extends RunCommandOptions {
  readonly hosts?: HostEntry[];
  readonly hostfile?: string;
  readonly slots?: number;
  readonly minWorkers?: number;
  readonly certs?: string;
  readonly address?: string;
  readonly ssh?: string[];
  readonly directory?: string;
  readonly program?: string;
  readonly wait: number;
}

export function buildLaunchCommand(): Command {
  return withRunOptions(new Command("launch"))
    .description("train a model with workers on other hosts: a coordinator here, and one ssh to each host")
    .option("--hosts <names>", "hosts, and how many workers on each: a,b or a:4,b:8", (value) => parseHosts(value))
    .option("--hostfile <file>", "the same, a host in each line: a slots=4")
    .option("--slots <n>", "workers on hosts that do not say how many (default: one for each device)", wholeNumber(1))
    .option("--min-workers <n>", "begin with so many when hosts do not answer (default: all)", wholeNumber(1))
    .option("--certs <folder>", "certificates of this cluster, as ringtune certs init makes them (cluster.certs)")
    .option("--address <host>", "name or address by which the hosts call this one (default: as ssh comes to them)")
    .option("--ssh <command>", 'ssh with its options, such as "ssh -p 2222 -i key" (default: ssh)', parseCommand)
    .option("--directory <path>", "working directory on the hosts (default: the same as here)")
    .option("--program <path>", "ringtune on the hosts (default: the same node and path as here)")
    .option("--wait <seconds>", "how long a host may take to answer", wholeNumber(1), 30)
    .action(launch);
}

async function launch(path: string | undefined, options: LaunchCommandOptions): Promise<void> {
  const hosts = completeHosts(await readHosts(options), options.slots);
  const { address, ssh = ["ssh"], directory = process.cwd(), program, wait } = options;
  const request: HostsRequest = {
    hosts,
    ssh,
    directory,
    words: program === undefined ? [process.execPath, ownProgram] : [program],
    timeoutMs: wait * 1000,
    ...(address === undefined ? {} : { address }),
  };
  const overrides: Override[] = [];
  if (options.certs !== undefined) overrides.push({ option: "--certs", set: `cluster.certs=${options.certs}` });
  if (options.minWorkers !== undefined) {
    overrides.push({ option: "--min-workers", set: `cluster.min_workers=${options.minWorkers}` });
  }
  const given = await readConfig(path, { ...options, overrides });
  // Hosts can't reach a coordinator on loopback; who reaches it then has to show something is the rule of cluster.host.
  const isNear = hosts.every(({ host }) => isLoopback(host.replace(/^.*@/, "")));
  if (!isNear && isLoopback(given.cluster.host)) overrides.push({ option: "--hosts", set: "cluster.host=0.0.0.0" });
  await runCommand(path, { ...options, overrides }, "launch", request);
}

const ownProgram = fileURLToPath(new URL("./main.js", import.meta.url));

async function readHosts({ hosts, hostfile }: LaunchCommandOptions): Promise<HostEntry[]> {
  if (hostfile === undefined) return hosts ?? [];
  if (hosts !== undefined)
    throw new RingtuneError("usage", "--hosts is given together with --hostfile; give only one of them");
  const text = await readFile(hostfile, "utf8").catch((cause: unknown) => {
    throw new RingtuneError("usage", `cannot read the hosts in ${hostfile}: ${describeError(cause)}`, { cause });
  });
  return parseHostFile(text, hostfile);
}

function parseCommand(value: string): string[] {
  const words = wordsOf(value);
  if (words === undefined || words.length === 0)
    throw new InvalidArgumentError("Give a command, with its quotes closed.");
  return words;
}

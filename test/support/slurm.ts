// A real Slurm (Debian's packages slurm-wlm and munge) on this host, for a test: munged, slurmctld and two slurmd, each a
// node of its own by its port. All of its state is in a temporary folder; it ends with the test. Needs root.

import { execFile, spawn, spawnSync, type ChildProcess } from "node:child_process";
import { once } from "node:events";
import { createServer, type AddressInfo } from "node:net";
import { hostname } from "node:os";
import { mkdir, readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { promisify } from "node:util";
import { expect, onTestFinished } from "vitest";
import { temporaryFolder } from "./cli.ts";

const programs = ["munged", "slurmctld", "slurmd", "sbatch", "srun", "scontrol"];
const isRoot = process.getuid?.() === 0;

/** Why there is no Slurm here, or undefined if there is one. */
export const withoutSlurm = programs.some(
  (name) => spawnSync("which", [name], { env: { ...process.env, PATH: searchPath() } }).status !== 0,
)
  ? "SKIPPED: Slurm is not installed (make setup-system)"
  : isRoot
    ? undefined
    : "SKIPPED: Slurm's daemons want root";

export interface Slurm {
  readonly nodes: readonly string[];
  /** Runs one of Slurm's commands; its output. Throws what it says. */
  command(name: string, ...args: string[]): Promise<string>;
  /** State and reason of a job, as `scontrol show job` has them: "RUNNING None". */
  stateOf(job: string): Promise<string>;
}

/** Two nodes of two processors each, n1 and n2. Jobs are killed before the daemons. */
export async function startSlurm(): Promise<Slurm> {
  const folder = await temporaryFolder();
  const at = (name: string): string => join(folder, name);
  for (const name of ["state", "spool-n1", "spool-n2"]) await mkdir(at(name));
  await writeFile(at("munge.key"), Buffer.alloc(1024, "ringtune test"), { mode: 0o400 });
  const [control, n1, n2] = await freePorts(3);
  const conf = at("slurm.conf");
  const env = { ...process.env, PATH: searchPath(), SLURM_CONF: conf };
  await writeFile(conf, configuration(folder, { control: control!, n1: n1!, n2: n2! }));
  await writeFile(at("cgroup.conf"), "CgroupAutomount=no\n");

  const daemon = (name: string, args: string[]): void => {
    const child = spawn(name, args, { env, stdio: "ignore" });
    onTestFinished(() => end(child));
  };
  const munge = ["socket", "pid-file", "log-file", "seed-file"].map((name) => `--${name}=${at(`munge.${name}`)}`);
  daemon("munged", ["--foreground", "--force", `--key-file=${at("munge.key")}`, ...munge]);
  const command = async (name: string, ...args: string[]): Promise<string> => {
    return (await promisify(execFile)(name, args, { env, maxBuffer: 2 ** 24 })).stdout.trim();
  };
  await expect.poll(() => command("munge", "-n", `--socket=${at("munge.socket")}`).catch(String)).toMatch(/^MUNGE:/);
  daemon("slurmctld", ["-D", "-i", "-f", conf]);
  for (const node of ["n1", "n2"]) daemon("slurmd", ["-D", "-N", node, "-f", conf]);
  onTestFinished(async () => {
    await command("scancel", "--full", "--signal=KILL", "--state=RUNNING").catch(() => undefined);
    await command("scancel", "--user=root").catch(() => undefined);
    await expect.poll(() => command("squeue", "--noheader").catch(() => "")).toBe("");
  });
  const logs = async (): Promise<string> =>
    (await Promise.all(["ctld", "n1", "n2"].map((name) => readFile(at(`${name}.log`), "utf8").catch(String)))).join(
      "\n",
    );
  const states = (): Promise<string> =>
    command("sinfo", "--noheader", "--Node", "--format=%N %t").catch((error: unknown) => String(error));
  try {
    await expect.poll(states).toBe("n1 idle\nn2 idle");
  } catch (cause) {
    throw new Error(await logs(), { cause });
  }
  return {
    nodes: ["n1", "n2"],
    command,
    async stateOf(job) {
      const text = await command("scontrol", "--oneliner", "show", "job", job);
      return [/JobState=(\S+)/, /Reason=(\S+)/].map((field) => field.exec(text)?.[1] ?? "").join(" ");
    },
  };
}

/** `cred_expire` is also how long a requeued job waits. */
function configuration(folder: string, ports: Record<"control" | "n1" | "n2", number>): string {
  const host = hostname().split(".")[0];
  const node = (name: "n1" | "n2"): string =>
    `NodeName=${name} NodeHostname=${host} NodeAddr=127.0.0.1 Port=${ports[name]} CPUs=2 State=UNKNOWN`;
  return `
ClusterName=ringtune
SlurmctldHost=${host}(127.0.0.1)
SlurmctldPort=${ports.control}
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
AuthInfo=socket=${folder}/munge.socket,cred_expire=5
CredType=cred/munge
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SwitchType=switch/none
MpiDefault=none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
SlurmdParameters=config_overrides
SchedulerParameters=sched_interval=2,batch_sched_delay=1
StateSaveLocation=${folder}/state
SlurmdSpoolDir=${folder}/spool-%n
SlurmctldPidFile=${folder}/ctld.pid
SlurmdPidFile=${folder}/%n.pid
SlurmctldLogFile=${folder}/ctld.log
SlurmdLogFile=${folder}/%n.log
MailProg=/bin/true
ReturnToService=2
KillWait=10
MinJobAge=300
${node("n1")}
${node("n2")}
PartitionName=all Nodes=n1,n2 Default=YES MaxTime=INFINITE State=UP
`;
}

async function end(child: ChildProcess): Promise<void> {
  if (child.exitCode !== null || child.signalCode !== null) return;
  const ended = once(child, "close");
  child.kill("SIGTERM");
  const kill = setTimeout(() => child.kill("SIGKILL"), 5000);
  await ended;
  clearTimeout(kill);
}

/** Daemons are in sbin, where PATH need not look. */
function searchPath(): string {
  return `${process.env["PATH"] ?? ""}:/usr/sbin:/sbin`;
}

async function freePorts(count: number): Promise<number[]> {
  const servers = Array.from({ length: count }, () => createServer().listen(0, "127.0.0.1"));
  await Promise.all(servers.map((server) => once(server, "listening")));
  const ports = servers.map((server) => (server.address() as AddressInfo).port);
  await Promise.all(servers.map((server) => once(server.close(), "close")));
  return ports;
}

// `ringtune launch` with a fake ssh that runs the hosts on this machine, and over a real sshd where one is installed.

import { execFileSync, spawn, type ChildProcess } from "node:child_process";
import { existsSync } from "node:fs";
import { chmod, mkdir, readFile, writeFile } from "node:fs/promises";
import { connect } from "node:net";
import { hostname, userInfo } from "node:os";
import { join } from "node:path";
import { setTimeout as delay } from "node:timers/promises";
import { expect, onTestFinished, test } from "vitest";
import { childrenOf, finish, readSteps, smallRun, start, type SmallRun } from "../support/cli.ts";
import { fakeSsh } from "../support/fake-ssh.ts";
import { freePort } from "../support/free-port.ts";
import { sentenceOf } from "../support/refusal.ts";

const endless = { steps: 100_000, eval_every: 0, schedule: "constant" };

async function certificates({ folder }: SmallRun): Promise<string> {
  const certs = join(folder, "certs");
  const made = await finish(["certs", "init", certs]);
  expect(made, made.stderr).toMatchObject({ code: 0 });
  return certs;
}

/** Resolves when a process is no more; it is a test's time limit that bounds it. */
async function gone(pid: number): Promise<void> {
  while (
    existsSync(`/proc/${pid}`) &&
    !(await readFile(`/proc/${pid}/stat`, "utf8").catch(() => ") Z")).includes(") Z")
  ) {
    await delay(20);
  }
}

test("hosts that are out of order are named while the others train, encrypted, with secrets that nobody sees", async () => {
  const small = await smallRun({ steps: 12, warmup_steps: 0, eval_every: 0 });
  const certs = await certificates(small);
  const ssh = await fakeSsh({
    hangs: "exec sleep 600",
    refuses: "echo 'refuses: Permission denied (publickey).' >&2; exit 255",
    old: `echo '{"kind":"hello","launch":1,"version":"0.0.1","host":"old"}'; exec sleep 600`,
    bare: "exec sh -c 'exec /no/node'",
  });
  // Words with everything that a shell might take for its own.
  const odd = join(small.folder, "a $HOME 'folder'\n\"here\"");
  await mkdir(odd);
  const result = await finish([
    ...["launch", small.config, "--hosts", "a,b:1,hangs,refuses,old,bare", "--slots", "2", "--min-workers", "3"],
    ...["--certs", certs, "--wait", "15", "--ssh", `'${ssh.path}' -p 2222`, "--directory", odd],
    ...["--set", "checkpoint.name=far"],
  ]);
  expect(result, result.stderr + result.stdout).toMatchObject({ code: 0, stderr: "" });
  for (const line of [
    /^connecting to 6 hosts by .*ssh: a, b, hangs, refuses, old, bare$/m,
    /^host a is ready after \d+\.\d s: 2 workers$/m,
    /^host b is ready after \d+\.\d s: 1 worker$/m,
    /^host hangs did not answer within 15 s$/m,
    /^host refuses refused this user's key after \d+\.\d s: refuses: Permission denied \(publickey\)\.; /m,
    /^host old has Ringtune 0\.0\.1 .*; install the same on both$/m,
    /^host bare can't run \S+: .*not found; install it there, or name Ringtune with --program$/m,
  ]) {
    expect(result.stdout).toMatch(line);
  }
  const steps = await readSteps(join(small.folder, "runs/far"));
  expect(steps.map(({ worldSize }) => worldSize)).toEqual(Array.from({ length: 12 }, () => 3));

  const key = (await readFile(join(certs, "worker-key.pem"), "utf8")).split("\n")[1]!;
  const calls = await ssh.calls();
  expect(calls).toHaveLength(6);
  for (const call of calls) {
    expect(call.slice(0, 4)).toEqual(["-p", "2222", "-o", "BatchMode=yes"]);
    expect(call.join(" ")).not.toContain(key);
    expect(call.join(" ")).not.toMatch(/token/i);
  }
});

test("too few hosts end the launch with the cause, and beyond loopback certificates or --insecure are asked for", async () => {
  const small = await smallRun();
  const ssh = await fakeSsh({ b: "echo 'ssh: connect to host b port 22: Connection refused' >&2; exit 255" });
  const launch = (...args: string[]) => finish(["launch", small.config, "--ssh", ssh.path, ...args]);
  const few = await launch("--hosts", "a:1,b:1", "--insecure");
  expect(sentenceOf(few, 1, "ringtune")).toMatch(
    /^1 of 2 hosts can't take part, 1 workers are left and cluster\.min_workers is all; the first of them: host b can't be reached by ssh after \d+\.\d s: ssh: connect to host b port 22: Connection refused; /,
  );
  const open = await launch("--hosts", "a:1");
  expect(open.code).toBe(2);
  expect(open.stderr).toMatch(/cluster\.host.*"0\.0\.0\.0" is beyond loopback.*set cluster\.certs .*--insecure/s);
  expect((await launch()).stderr).toMatch(/name at least one host: --hosts a,b or --hostfile FILE/);
  expect((await launch("--hosts", "-oProxyCommand=id")).stderr).toMatch(/is no host/);
  expect(await ssh.calls()).toHaveLength(2);
});

test("workers and hosts that are killed are started again over ssh, and leave with the launcher, Ctrl-C or kill -9", async () => {
  const small = await smallRun(endless);
  const ssh = await fakeSsh();
  const args = ["launch", small.config, "--insecure", "--ssh", ssh.path];
  const running = start([...args, "--hosts", "a:1,b:1", "--set", "checkpoint.name=again"]);
  await running.waitFor(/step +10\//);
  const [host] = await ssh.pidsOf("b");
  const [worker] = await childrenOf(host!);
  // Its secrets came by its standard input.
  expect(await readFile(`/proc/${worker}/environ`, "utf8")).not.toContain("RINGTUNE_JOIN_TOKEN");
  process.kill(worker!, "SIGKILL");
  await running.waitFor(new RegExp(String.raw`lost worker w1 \(.*pid ${worker}, .*was killed by SIGKILL`));
  await running.waitFor(
    /starting worker w1 again in 1 s \(try 1 of 5\)[^]*with 2 workers: worker w1 [^]*is formed: 2 workers/,
  );
  process.kill(host!, "SIGKILL");
  await running.waitFor(
    new RegExp(String.raw`^worker w1 \(host b, pid \d+\) was lost with its host: ssh was killed by SIGKILL$`, "m"),
  );
  await running.waitFor(
    /starting worker w1 again in 2 s \(try 2 of 5\)[^]*with 2 workers: worker w1 [^]*is formed: 2 workers/,
  );
  expect(await ssh.pidsOf("b")).toHaveLength(2);
  running.child.kill("SIGINT");
  const stopped = await running.finished;
  expect(stopped, stopped.stderr).toMatchObject({ code: 130 });
  expect(stopped.stderr).toMatch(/go on with: ringtune launch --resume /);
  const hosts = [...(await ssh.pidsOf("a")), ...(await ssh.pidsOf("b"))];
  await Promise.all(hosts.map(gone));

  const killed = start([...args, "--hosts", "a:1,b:1", "--resume", join(small.folder, "runs/again")]);
  await killed.waitFor(/step +\d+\//);
  const there = [(await ssh.pidsOf("a")).at(-1)!, (await ssh.pidsOf("b")).at(-1)!];
  const workers = (await Promise.all(there.map(childrenOf))).flat();
  expect(workers).toHaveLength(2);
  killed.child.kill("SIGKILL");
  await Promise.all([...there, ...workers].map(gone));
});

const sshd = "/usr/sbin/sshd";

test.skipIf(!existsSync(sshd))("a run over a real sshd, whose workers leave when the launcher is killed", async () => {
  const small = await smallRun(endless);
  const folder = join(small.folder, "ssh");
  await mkdir(folder, { mode: 0o700 });
  for (const name of ["host", "user"]) {
    execFileSync("ssh-keygen", ["-q", "-t", "ed25519", "-N", "", "-f", join(folder, name)]);
  }
  const port = await freePort();
  const settings = [
    `Port ${port}`,
    "ListenAddress 127.0.0.1",
    `HostKey ${join(folder, "host")}`,
    `AuthorizedKeysFile ${join(folder, "user.pub")}`,
    "StrictModes no",
    "UsePAM no",
    `PidFile ${join(folder, "pid")}`,
  ];
  await writeFile(join(folder, "sshd_config"), settings.join("\n"));
  await writeFile(join(folder, "known"), `[127.0.0.1]:${port} ${await readFile(join(folder, "host.pub"), "utf8")}`);
  await chmod(join(folder, "user"), 0o600);
  // As root it drops its privileges in this folder.
  if (process.getuid?.() === 0) await mkdir("/run/sshd", { recursive: true, mode: 0o755 });
  const server = spawn(sshd, ["-D", "-e", "-f", join(folder, "sshd_config")], { stdio: ["ignore", "ignore", "pipe"] });
  let said = "";
  server.stderr.setEncoding("utf8").on("data", (text: string) => (said += text));
  onTestFinished(() => void server.kill("SIGKILL"));
  await listening(port, server, () => said);
  const ssh = `ssh -p ${port} -i ${join(folder, "user")} -o UserKnownHostsFile=${join(folder, "known")} -l ${userInfo().username}`;
  const running = start([
    ...["launch", small.config, "--hosts", "127.0.0.1:2", "--ssh", ssh, "--set", "checkpoint.name=real"],
  ]);
  await running.waitFor(/^host 127\.0\.0\.1 is ready after .*: 2 workers$/m);
  await running.waitFor(/step +5\//);
  const status = await finish(["status", join(small.folder, "runs/real")]);
  const workers = [...status.stdout.matchAll(new RegExp(`${hostname()} (\\d+)`, "g"))].map(([, pid]) => Number(pid));
  expect(workers, status.stdout).toHaveLength(2);
  running.child.kill("SIGKILL");
  await Promise.all(workers.map(gone));
  const wrong = await finish([
    "launch",
    small.config,
    "--hosts",
    "127.0.0.1:2",
    "--ssh",
    ssh.replace("/user ", "/host "),
  ]);
  expect(wrong.stderr).toMatch(/host 127\.0\.0\.1 refused this user's key after .*: .*Permission denied/);
});

async function listening(port: number, server: ChildProcess, said: () => string): Promise<void> {
  while (server.exitCode === null) {
    const socket = connect(port, "127.0.0.1");
    const isOpen = await new Promise<boolean>((resolve) => {
      socket.once("connect", () => resolve(true)).once("error", () => resolve(false));
    });
    socket.destroy();
    if (isOpen) return;
    await delay(50);
  }
  throw new Error(`sshd does not listen: ${said()}`);
}

// Workers on another host: a network namespace, so that no memory and no local socket is shared, and packets travel.

import { readdir, readFile } from "node:fs/promises";
import { join } from "node:path";
import { describe, expect, onTestFinished, test } from "vitest";
import { finish, readSteps, smallRun, start } from "../support/cli.ts";
import { noOtherHost, openOtherHost } from "../support/network-namespace.ts";
import { sentenceOf } from "../support/refusal.ts";

describe.skipIf(noOtherHost !== undefined)(`with another host (${noOtherHost ?? "a network namespace"})`, () => {
  test("two hosts train together over mutual TLS and CURVE, and whoever lacks a certificate or a token gets nothing", async () => {
    const { here, prefix, close } = openOtherHost();
    onTestFinished(close);
    const small = await smallRun({ steps: 20, eval_every: 0 });
    const ours = join(small.folder, "certs");
    expect(await finish(["certs", "init", ours])).toMatchObject({ code: 0 });
    const coordinator = start([
      ...["coordinator", small.config, "--set", `cluster.certs=${ours}`, "--set", `cluster.host=${here}`],
      // Tokens of the run expire at once: only those that are asked for let in.
      ...["--set", "cluster.workers=2", "--set", "checkpoint.name=two", "--set", "cluster.join_token_ttl_s=0.001"],
      ...["--set", "metrics.enabled=true", "--set", "metrics.port=0"],
    ]);
    const [, address, tokenFile] = await coordinator.waitFor(/worker --coordinator (\S+) --token-file (\S+) --certs/);
    const run = join(small.folder, "runs/two");
    expect(address).toMatch(new RegExp(`^${here}:\\d+$`));
    const workerThere = (...args: string[]) => start(["worker", "--coordinator", address!, ...args], { prefix });

    const failing = async (...args: string[]): Promise<string> =>
      sentenceOf(await workerThere(...args).finished, args.includes("--certs") ? 4 : 2, "ringtune worker");
    expect(await failing("--token-file", tokenFile!)).toMatch(/are beyond loopback.*start this worker with --certs/);
    const expired = await failing("--token-file", tokenFile!, "--certs", ours);
    expect(expired).toMatch(
      /has a join token that expired at \S+, it is \S+ now; make another: ringtune token \S+\/two$/,
    );
    const fresh = join(small.folder, "fresh");
    const made = await finish(["token", run, "--for", "10m", "--out", fresh]);
    expect(made.stdout).toMatch(/fresh lets workers in until 20/);
    const clear = await workerThere("--token-file", fresh, "--certs", ours, "--insecure").finished;
    expect(clear.stderr.trim().split("\n")).toEqual([
      expect.stringMatching(/^warning: --insecure: the ring at \S+ is not encrypted; /),
      expect.stringMatching(/^ringtune worker: the ring of worker \S+ is not encrypted, and this run's is/),
    ]);

    const joining = ["--token-file", fresh, "--certs", ours];
    const workers = [workerThere(...joining), start(["worker", "--coordinator", address!, ...joining])];
    const outputs = [await coordinator.finished, ...(await Promise.all(workers.map(({ finished }) => finished)))];
    for (const output of outputs) expect(output, output.stderr).toMatchObject({ code: 0 });
    const steps = await readSteps(run);
    expect(steps.map(({ worldSize }) => worldSize)).toEqual(Array<number>(20).fill(2));
    for (const { allReduceBytes, bytesBetweenHosts } of steps) expect(bytesBetweenHosts).toBe(allReduceBytes);
    expect(steps[0]?.bytesBetweenHosts).toBeGreaterThan(0);

    // Neither tokens nor keys are anywhere that people look.
    const secrets = [await readFile(fresh, "utf8"), await readFile(join(ours, "worker-key.pem"), "utf8")];
    const said = [...outputs.flatMap(({ stdout, stderr }) => [stdout, stderr]), expired, clear.stderr].join("\n");
    const files = (await readdir(run, { recursive: true, withFileTypes: true })).filter((entry) => entry.isFile());
    const kept = await Promise.all(files.map(({ parentPath, name }) => readFile(join(parentPath, name), "latin1")));
    expect(kept.length).toBeGreaterThan(5);
    for (const secret of secrets.flatMap((text) => text.trim().split("\n")).filter((line) => !line.startsWith("-"))) {
      expect(said + kept.join("\n")).not.toContain(secret);
    }
  });
});

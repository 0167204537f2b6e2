import { createServer } from "node:net";
import { existsSync } from "node:fs";
import { readdir, readFile } from "node:fs/promises";
import { join } from "node:path";
import { expect, test } from "vitest";
import type { Finding } from "../../coordinator/doctor/finding.ts";
import { childrenOf, finish, smallRun, start } from "../support/cli.ts";

test("runs one worker for real, says what it takes, and leaves nothing behind", async () => {
  const { folder, config } = await smallRun();
  const before = await readdir(folder);
  const { code, stdout, stderr } = await finish(["doctor", config, "--json"], { cwd: folder });
  expect(code, stderr + stdout).toBe(0);
  const findings = JSON.parse(stdout) as Finding[];
  const about = (area: string): string => findings.find((finding) => finding.area === area)?.sentence ?? "";
  expect(about("dry run")).toMatch(/one worker on onnx cpu.*a step of \d+ targets takes [\d.]+ s/);
  expect(about("memory")).toMatch(/a worker takes \d+\.\dMB of memory at its peak/);
  expect(about("disk")).toMatch(/3 checkpoints of [\d.]+[kM]B need [\d.]+[kM]B/);
  expect(about("links")).toMatch(/[\d.]+ GB\/s bus bandwidth/);
  expect(existsSync(join(folder, "runs"))).toBe(false);
  expect((await readdir(folder)).filter((name) => name !== "cache")).toEqual(before.filter((name) => name !== "cache"));
});

test("serves a fake cluster, and names a port that is taken and data that is not there", async () => {
  const { folder, config } = await smallRun();
  const server = createServer();
  const port = await new Promise<number>((resolve) => {
    server.listen(0, "127.0.0.1", () => resolve((server.address() as { port: number }).port));
  });
  const fake = await finish(["doctor", config, "--fake", "--workers", "4", "--set", `cluster.port=${port}`], {
    cwd: folder,
  });
  server.close();
  expect(fake.stdout).toMatch(/^ok +fake cluster +4 workers joined, took 2 steps and a checkpoint/m);
  expect(fake.stdout).toMatch(new RegExp(`^fail +ports +cluster.port 127.0.0.1:${port} can't be listened at`, "m"));
  expect(fake.stderr).toMatch(/1 of \d+ findings would end a run/);
  expect(fake.code).toBe(2);
  const missing = await finish(["doctor", config, "--set", "data.source=nowhere.txt"], { cwd: folder });
  expect(missing.stdout).toMatch(/^fail +data +.*nowhere\.txt/m);
  expect(missing.stdout).not.toContain("dry run");
});

test("bench throughput trains for real with each number of workers, and draws it", async () => {
  const { folder, config } = await smallRun();
  const args = ["bench", "throughput", config, "--workers", "1,2", "--steps", "5", "--out", join(folder, "out")];
  const { code, stdout, stderr } = await finish(args, { cwd: folder });
  expect(code, stderr).toBe(0);
  expect(stdout).toMatch(/^ +1 +\S+ +1\.00 /m);
  expect(stdout).toMatch(/^ +2 +\S+ +[\d.]+ .*B\/s/m);
  expect(await readFile(join(folder, "out/throughput.html"), "utf8")).toContain("Tokens per second, by workers");
  const results = JSON.parse(await readFile(join(folder, "out/throughput.json"), "utf8")) as { workers: number }[];
  expect(results.map(({ workers }) => workers)).toEqual([1, 2]);
});

test("measures the clocks and the links of a run that is going on, which goes on as before", async () => {
  const { folder, config } = await smallRun({ steps: 1_000_000, eval_every: 0, learning_rate: 1e-5 });
  const run = join(folder, "runs/looked-at");
  const train = start(["train", config, "--workers", "3", "--set", "checkpoint.name=looked-at"], { cwd: folder });
  await train.waitFor(/step +\d+\/1000000/);
  const workers = await childrenOf(train.child.pid!);
  const { code, stdout, stderr } = await finish(["doctor", "--run", run, "--json"]);
  expect(code, stderr + stdout).toBe(0);
  const findings = JSON.parse(stdout) as Finding[];
  const about = (area: string): string[] => findings.filter((each) => each.area === area).map((each) => each.sentence);
  expect(about("run")).toEqual([expect.stringMatching(/^looked-at has 3 workers on 1 host, step \d+ of 1000000$/)]);
  for (const sentence of about("clock")) expect(sentence).toMatch(/^worker w\d .* is [\d.e-]+ ms (ahead of|behind) /);
  expect(about("clock")).toHaveLength(3);
  const links = about("links").map(
    (sentence) => /^(\w+ to \w+) \(on one host, over a socket\): [\d.]+[MG]B\/s, [\d.]+ ms/.exec(sentence)?.[1],
  );
  expect(links.sort()).toEqual(["w0 to w1", "w0 to w2", "w1 to w0", "w1 to w2", "w2 to w0", "w2 to w1"]);
  expect(await childrenOf(train.child.pid!)).toEqual(workers);
  await train.waitFor(/generation 2 is formed: 3 workers hold step \d+[^]*step +\d+\//);
  train.child.kill("SIGINT");
  expect((await train.finished).code).toBe(130);
});

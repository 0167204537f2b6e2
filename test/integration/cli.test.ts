import { execFile } from "node:child_process";
import { mkdir, readdir, readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { promisify } from "node:util";
import { describe, expect, test } from "vitest";
import { packageRoot, packageVersion } from "../../common/package-root.ts";
import { childrenOf, finish, isAlive, smallRun, start, temporaryFolder } from "../support/cli.ts";

const shell = promisify(execFile);

/** One sentence on stderr (or a list of problems), nothing on stdout, exit code 2, no stack. */
async function refusal(args: readonly string[], cwd?: string): Promise<string> {
  const result = await finish(args, cwd === undefined ? {} : { cwd });
  expect(result.code, result.stderr).toBe(2);
  expect(result.stdout).toBe("");
  expect(result.stderr).toMatch(/^ringtune: .*\n/);
  expect(result.stderr).not.toMatch(/^\s+at |\u001b|bug in Ringtune/m);
  return result.stderr;
}

describe("help", () => {
  test("leads a newcomer to the first commands, and names all", async () => {
    const result = await finish(["--help"]);
    expect(result).toMatchObject({ code: 0, stderr: "" });
    for (const command of ["train", "generate", "coordinator", "worker", "config", "tokenizer", "fixtures"]) {
      expect(result.stdout).toMatch(new RegExp(`^  ${command} `, "m"));
    }
    const examples = [...result.stdout.matchAll(/examples\/\S+\.yaml/g)].map(([path]) => path);
    expect(examples.length).toBeGreaterThan(1);
    for (const path of examples) expect(await readFile(join(packageRoot, path), "utf8")).toContain("train:");
  });

  test("is there for every command, whichever side it runs on", async () => {
    for (const [args, usage] of [
      [["train", "--help"], "Usage: ringtune train"],
      [["help", "coordinator"], "Usage: ringtune coordinator"],
      [["config", "check", "--help"], "Usage: ringtune config check"],
      [["worker", "--help"], "Usage: ringtune worker"],
      [["help", "generate"], "Usage: ringtune generate"],
    ] as const) {
      const result = await finish(args);
      expect(result, result.stderr).toMatchObject({ code: 0 });
      expect(result.stdout).toContain(usage);
    }
  });

  test("without a command goes to stderr, as nothing was done", async () => {
    const result = await finish([]);
    expect(result).toMatchObject({ code: 2, stdout: "" });
    expect(result.stderr).toContain("First steps:");
  });

  test("the version is the package's", async () => {
    expect(await finish(["--version"])).toMatchObject({ code: 0, stdout: `${packageVersion}\n` });
  });
});

describe("a wrong command line is answered in one sentence", () => {
  test.each<[string[], string]>([
    [["trian"], 'unknown command "trian"; did you mean train?'],
    [["--bogus"], "unknown option '--bogus' (see ringtune --help)"],
    [["train", "x.yaml", "--wrokers", "2"], "unknown option '--wrokers'; did you mean --workers?"],
    [["train", "x.yaml", "--workers", "none"], "'--workers <n>' argument 'none' is invalid"],
    [["train", "a.yaml", "b.yaml"], "too many arguments for 'train'; expected 1 argument but got 2"],
    [["train"], "name a configuration"],
    [["train", "nowhere.yaml"], "nowhere.yaml does not exist; name a YAML file, such as examples/sotu.yaml"],
    [["train", "examples"], "examples is a folder; name the YAML file in it"],
    [["config", "check"], "missing required argument 'config' (see ringtune config check --help)"],
    [["config", "check", "examples/sotu.yaml", "--set", "steps"], "--set steps: expected path=value"],
    [["tokenizer", "train", "sotu"], "required option '--out <dir>' not specified"],
  ])("%j", async (args, expected) => {
    const text = await refusal(args);
    expect(text).toContain(expected);
    expect(text.trimEnd().split("\n")).toHaveLength(1);
  });
});

describe("config", () => {
  test("check prints the examples with every default, and the result is accepted again", async () => {
    const folder = await temporaryFolder();
    const configs = (await readdir(join(packageRoot, "examples"))).filter((name) => name.endsWith(".yaml"));
    expect(configs.length).toBeGreaterThan(5);
    for (const name of configs) {
      const result = await finish(["config", "check", join("examples", name)]);
      expect(result, result.stderr).toMatchObject({ code: 0, stderr: "" });
      expect(result.stdout).toContain("join_timeout_s: 60");
      await writeFile(join(folder, name), result.stdout);
      expect(await finish(["config", "check", join(folder, name)])).toMatchObject({ code: 0, stdout: result.stdout });
    }
  });

  test("check names every problem of a file and of --set, each with its place", async () => {
    const folder = await temporaryFolder();
    await writeFile(join(folder, "a.yaml"), "train:\n  stepz: 3\n  microbatch: 3\nmodel:\n  size: huge\n");
    const text = await refusal(["config", "check", "a.yaml", "--set", "cluster.host=0.0.0.0"], folder);
    expect(text.trimEnd().split("\n")).toEqual([
      "ringtune: a.yaml has 4 problems:",
      "  a.yaml:2:3: train.stepz: unknown key; did you mean train.steps?",
      "  a.yaml:3:3: train.microbatch: 3 does not divide train.global_batch 16; the nearest divisors are 2 and 4",
      expect.stringContaining('  a.yaml:5:3: model.size: expected "nano", "micro", "mini", "small" or "gpt2", got'),
      expect.stringContaining('  --set cluster.host=0.0.0.0: cluster.host: "0.0.0.0" is beyond loopback'),
    ]);
  });

  test("schema prints JSON Schema, docs the reference; a reader that leaves early is no error", async () => {
    const schema = await finish(["config", "schema"]);
    expect(JSON.parse(schema.stdout)).toMatchObject({ title: "Ringtune configuration", additionalProperties: false });
    const docs = await finish(["config", "docs"]);
    expect(docs.stdout).toBe(await readFile(join(packageRoot, "docs/config.md"), "utf8"));
    const program = join(packageRoot, "dist/coordinator/cli/main.js");
    const pipe = `set -o pipefail; "${process.execPath}" "${program}" config docs | head -n 1`;
    expect(await shell("bash", ["-c", pipe])).toEqual({ stdout: "# Configuration\n", stderr: "" });
  });
});

describe("bad input to a run ends within seconds, in a sentence, and leaves nothing behind", () => {
  test("a wrong run to resume", async () => {
    const { folder, config } = await smallRun();
    const resume = (path: string) => finish(["train", config, "--resume", path]);
    const missing = await resume(join(folder, "nowhere"));
    expect(missing).toMatchObject({ code: 1, stdout: "" });
    expect(missing.stderr).toMatch(/^ringtune: .*nowhere does not exist; name the folder of a run.*\n$/);
    await mkdir(join(folder, "empty"));
    expect((await resume(join(folder, "empty"))).stderr).toMatch(/empty is not a run: it has no ringtune\.yaml/);
  });

  test("a name that is taken: the earlier run is as it was", async () => {
    const { folder, config } = await smallRun();
    const run = join(folder, "runs/taken");
    await mkdir(run, { recursive: true });
    await writeFile(join(run, "precious"), "mine");
    const result = await finish(["train", config, "--set", "checkpoint.name=taken"]);
    expect(result.code, result.stderr).toBe(1);
    expect(result.stderr).toMatch(
      /^ringtune: .*taken exists already and is left as it is; go on with it by --resume .*\n$/,
    );
    expect(await readdir(run)).toEqual(["precious"]);
  });

  test("data that is missing, and a sequence longer than the model sees: no run directory is made", async () => {
    const { folder, config } = await smallRun();
    const missing = await finish(["train", config, "--set", "data.source=nothing.txt"]);
    expect(missing.code, missing.stderr).toBe(1);
    expect(missing.stderr).toMatch(/^ringtune: .*nothing\.txt.*\n$/);
    expect(await refusal(["train", config, "--set", "train.sequence_length=64"])).toContain(
      "train.sequence_length: 64 is longer than the 32 positions of the model; use at most 32",
    );
    expect(await readdir(join(folder, "runs")).catch(() => [])).toEqual([]);
  });
});

describe("a program of the worker's side, run as a child process", () => {
  const waiting = ["worker", "--coordinator", "127.0.0.1:1", "--timeout", "600"];

  test("gives its exit code and its sentence", async () => {
    const result = await finish(["generate", "nowhere"]);
    expect(result.code).toBeGreaterThan(0);
    expect(result.stderr).toMatch(/nowhere/);
    expect(result.stderr).not.toMatch(/^\s+at /m);
  });

  test("is told to stop when its parent is, and is not left behind", async () => {
    const running = start(waiting);
    const child = await childOf(running.child.pid);
    running.child.kill("SIGTERM");
    const { code, signal } = await running.finished;
    expect(signal).toBe(null);
    expect(code).not.toBe(0);
    expect(await isAlive(child)).toBe(false);
  });

  test("ends when its parent is killed", async () => {
    const running = start(waiting);
    const child = await childOf(running.child.pid);
    running.child.kill("SIGKILL");
    await expect.poll(() => isAlive(child)).toBe(false);
  });

  async function childOf(pid = 0): Promise<number> {
    await expect.poll(() => childrenOf(pid)).toHaveLength(1);
    const [child = 0] = await childrenOf(pid);
    // Its preload runs before its program; from then on the command line is its own.
    await expect.poll(() => readFile(`/proc/${child}/cmdline`, "utf8")).toContain("worker/main.js");
    return child;
  }
});

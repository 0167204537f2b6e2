// The path of the README's section Watch, as a newcomer walks it: exactly its commands, in order, in a folder that has the
// repository and nothing else, with the ports that the README names (in a network namespace, where nobody else has them), a real
// Prometheus with the configuration of deploy/prometheus, and the queries of the dashboards as deploy/grafana/dashboards has them.

import { spawn, type ChildProcess } from "node:child_process";
import { mkdir, readdir, readFile, symlink, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { describe, expect, onTestFinished, test } from "vitest";
import { packageRoot } from "../../common/package-root.ts";
import { temporaryFolder } from "../support/cli.ts";
import { noOtherHost, openOtherHost } from "../support/network-namespace.ts";
import { hasPrometheus } from "../support/prometheus.ts";

/** The commands of a section's code blocks, without their comments. */
async function commandsOf(section: string): Promise<string[]> {
  const readme = await readFile(join(packageRoot, "README.md"), "utf8");
  const [, text = ""] = new RegExp(`^## ${section}\n([^]*?)(?=^## )`, "m").exec(readme) ?? [];
  const blocks = [...text.matchAll(/^```sh\n([^]*?)^```$/gm)].map(([, block]) => block!);
  return blocks.flatMap((block) => block.split("\n").map((line) => line.replace(/ +#.*/, ""))).filter((line) => line);
}

/** What a fresh clone has after `make build`, but that its first example lasts as long as the test, however fast the machine is. */
async function freshClone(): Promise<string> {
  const folder = await temporaryFolder();
  for (const name of await readdir(packageRoot)) {
    const isOwn = [".cache", ".git", "runs", "data", "examples"].includes(name);
    if (!isOwn) await symlink(join(packageRoot, name), join(folder, name));
  }
  await mkdir(join(folder, "examples"));
  const example = await readFile(join(packageRoot, "examples/sotu.yaml"), "utf8");
  await writeFile(join(folder, "examples/sotu.yaml"), example.replace("steps: 1200", "steps: 120000"));
  return folder;
}

interface Shown {
  readonly panels: readonly Panel[];
}

interface Panel {
  readonly title: string;
  readonly targets?: readonly { readonly expr: string; readonly legendFormat: string }[];
  readonly panels?: readonly Panel[];
}

/** The queries of a panel of a dashboard's file, by legend, as Grafana would ask them for the run `first`. */
async function queriesOf(dashboard: string, title: string): Promise<Record<string, string>> {
  const path = join(packageRoot, `deploy/grafana/dashboards/${dashboard}.json`);
  const { panels } = JSON.parse(await readFile(path, "utf8")) as Shown;
  const panel = panels.flatMap((each) => [each, ...(each.panels ?? [])]).find((each) => each.title === title);
  const fill = (expr: string): string => expr.replaceAll("$__rate_interval", "1m").replaceAll("$run", "first");
  return Object.fromEntries((panel?.targets ?? []).map(({ legendFormat, expr }) => [legendFormat, fill(expr)]));
}

interface Shell {
  /** Starts a command that is waited for or left running; ended with the test. */
  run(command: string): {
    readonly child: ChildProcess;
    readonly output: () => string;
    readonly ended: Promise<number | null>;
  };
  /** What a command prints. Throws when it fails. */
  print(command: string): Promise<string>;
}

/** A shell as a person would have, with the network of `prefix`. */
function openShell(cwd: string, prefix: readonly string[]): Shell {
  const run: Shell["run"] = (command) => {
    const [program = "", ...args] = [...prefix, "sh", "-c", `exec ${command}`];
    // A process group of its own, so that npx does not leave its children behind.
    // npx links the package into its cache.
    const env = { ...process.env, NO_COLOR: "1", npm_config_cache: join(cwd, ".npm") };
    const child = spawn(program, args, { cwd, env, stdio: ["ignore", "pipe", "pipe"], detached: true });
    let text = "";
    for (const stream of [child.stdout, child.stderr]) stream.on("data", (chunk: Buffer) => (text += String(chunk)));
    const ended = new Promise<number | null>((resolve) => child.once("close", resolve));
    onTestFinished(async () => {
      if (child.exitCode === null && child.signalCode === null) process.kill(-child.pid!, "SIGKILL");
      await ended;
    });
    return { child, output: () => text, ended };
  };
  return {
    run,
    async print(command) {
      const { ended, output } = run(command);
      const code = await ended;
      if (code !== 0) throw new Error(`${command} ended with ${code}:\n${output()}`);
      return output();
    },
  };
}

describe.skipIf(!hasPrometheus || noOtherHost !== undefined)("the README's way to watch a run", () => {
  test("train, scrape, scale, kill, and see all of it on the dashboard's queries", async () => {
    const commands = await commandsOf("Watch");
    expect(
      commands.map((command) =>
        command
          .split(" ")
          .slice(0, command.startsWith("npx") ? 3 : 1)
          .join(" "),
      ),
    ).toEqual([
      ...["npx ringtune train", "curl", "prometheus"],
      ...["npx ringtune scale", "npx ringtune status", "kill", "promtool"],
    ]);
    const [train, curl, prometheus, scale, status, kill, promtool] = commands as [string, ...string[]];
    const host = openOtherHost();
    onTestFinished(host.close);
    const shell = openShell(await freshClone(), host.prefix);
    const training = shell.run(train);
    const until = async (what: () => Promise<unknown>, wanted: unknown, message: string): Promise<void> => {
      const look = async (): Promise<unknown> => {
        if (training.child.exitCode !== null) throw new Error(`training has ended:\n${training.output()}`);
        return what().catch((error: unknown) => String(error));
      };
      await expect.poll(look, { message, timeout: 120_000, interval: 500 }).toEqual(wanted);
    };
    await until(async () => /step +\d+\/120000/.test(training.output()), true, "the first step");
    expect(await shell.print(curl!)).toMatch(/^ringtune_world_size 2$/m);

    shell.run(prometheus!);
    const ask = async (query: string): Promise<number | undefined> => {
      const url = "http://127.0.0.1:9090/api/v1/query";
      const answer = await shell.print(`curl -sf ${url} --data-urlencode 'query=${query}'`);
      const { data } = JSON.parse(answer) as { data: { result: { value: [number, string] }[] } };
      const [sample] = data.result;
      return sample && Number(sample.value[1]);
    };
    const shows = async (panel: string, wanted: unknown): Promise<void> => {
      const [query] = Object.values(await queriesOf("ringtune-cluster", panel));
      await until(() => ask(query!), wanted, `${panel} on the Cluster dashboard`);
    };
    await shows("Workers", 2);
    await shows("Missing workers", 0);
    const generation = await ask((await queriesOf("ringtune-cluster", "Generation"))["generation"]!);

    expect(await shell.print(scale!)).toContain("scaling from 2 to 3 workers");
    await shows("Workers", 3);
    await shows("Generation", generation! + 1);

    const shown = await shell.print(status!);
    const [, pid] = /^ +w1 +healthy +rank \d+ +\S+ (\d+)/m.exec(shown) ?? [];
    expect(pid, shown).toBeDefined();
    expect(kill).toBe("kill -9 PID");
    await shell.print(kill!.replace("PID", pid!));
    await shows("Workers lost", 1);
    await shows("Recovery", expect.closeTo(0, -2));
    expect(Number(/=> ([\d.]+) @/.exec(await shell.print(promtool!))?.[1])).toBeGreaterThan(0);
    // It is started again, and joins the others.
    await shows("Workers", 3);
    await shows("Generation", generation! + 3);
    const { duplicated, lost } = await queriesOf("ringtune-ledger", "Duplicated");
    expect([await ask(duplicated!), lost]).toEqual([0, undefined]);

    process.kill(-training.child.pid!, "SIGINT");
    await training.ended;
    expect(training.output()).toContain("stopped by SIGINT");
  }, 400_000);
});

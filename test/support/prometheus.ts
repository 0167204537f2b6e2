// A real Prometheus (Debian's package prometheus) that scrapes one address with the rules of deploy/, for a test.

import { spawn, spawnSync } from "node:child_process";
import { once } from "node:events";
import { readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { onTestFinished } from "vitest";
import { parse, stringify } from "yaml";
import { packageRoot } from "../../common/package-root.ts";
import { temporaryFolder } from "./cli.ts";
import { freePort } from "./free-port.ts";

export const hasPrometheus = ["prometheus", "promtool"].every((name) => spawnSync(name, ["--version"]).status === 0);

export const rulesFolder = join(packageRoot, "deploy/prometheus");

export interface Sample {
  readonly metric: Readonly<Record<string, string>>;
  readonly value: number;
}

export interface Rule {
  readonly type: "recording" | "alerting";
  readonly name: string;
  readonly query: string;
  readonly health: string;
  readonly lastError?: string;
  readonly state?: string;
}

export interface Prometheus {
  /** Throws what Prometheus says against the query. */
  query(expression: string): Promise<Sample[]>;
  rules(): Promise<Rule[]>;
}

/**
 * Scrapes `target` ("127.0.0.1:9464") and evaluates the rules every half second; ends with the test. With `jobs`, each
 * scrapes it in its own way.
 */
export async function startPrometheus(
  target: string,
  jobs: Readonly<Record<string, object>> = {},
): Promise<Prometheus> {
  const folder = await temporaryFolder();
  const config = parse(await readFile(join(rulesFolder, "prometheus.yml"), "utf8")) as {
    global: Record<string, string>;
    rule_files: string[];
    scrape_configs: { static_configs: { targets: string[] }[] }[];
  };
  config.global = { scrape_interval: "500ms", evaluation_interval: "500ms", scrape_timeout: "500ms" };
  config.rule_files = config.rule_files.map((name) => join(rulesFolder, name));
  config.scrape_configs[0]!.static_configs[0]!.targets = [target];
  if (Object.keys(jobs).length > 0) {
    const static_configs = [{ targets: [target] }];
    config.scrape_configs = Object.entries(jobs).map(([job_name, job]) => ({ job_name, static_configs, ...job }));
  }
  const file = join(folder, "prometheus.yml");
  await writeFile(file, stringify(config));
  const port = await freePort();
  const child = spawn(
    "prometheus",
    [`--config.file=${file}`, `--storage.tsdb.path=${join(folder, "data")}`, `--web.listen-address=127.0.0.1:${port}`],
    { stdio: ["ignore", "ignore", "pipe"] },
  );
  let log = "";
  child.stderr.setEncoding("utf8").on("data", (chunk: string) => (log += chunk));
  const ended = once(child, "close");
  onTestFinished(async () => {
    child.kill("SIGKILL");
    await ended;
  });
  const base = `http://127.0.0.1:${port}`;
  for (;;) {
    const ready = await fetch(`${base}/-/ready`).catch(() => undefined);
    if (ready?.status === 200) break;
    if (child.exitCode !== null) throw new Error(`Prometheus ended with ${child.exitCode}:\n${log}`);
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
  return {
    async query(expression) {
      const body = new URLSearchParams({ query: expression });
      const answer = await ask(`${base}/api/v1/query`, { method: "POST", body });
      const { result } = answer as { result: { metric: Record<string, string>; value: [number, string] }[] };
      return result.map(({ metric, value }) => ({ metric, value: Number(value[1].replace("Inf", "Infinity")) }));
    },
    async rules() {
      const { groups } = (await ask(`${base}/api/v1/rules`)) as { groups: { rules: Rule[] }[] };
      return groups.flatMap(({ rules }) => rules);
    },
  };
}

async function ask(url: string, init?: RequestInit): Promise<unknown> {
  const answer = (await (await fetch(url, init)).json()) as { status: string; data: unknown; error?: string };
  if (answer.status !== "success") throw new Error(answer.error);
  return answer.data;
}

// The Dockerfile, the compose files and the systemd units, without Docker: what they name exists, and they agree with each other, with
// the code and with the scrape config.

import { spawnSync } from "node:child_process";
import { access, copyFile, mkdir, mkdtemp, readdir, readFile, rm, stat, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { dirname, join, resolve } from "node:path";
import { describe, expect, onTestFinished, test } from "vitest";
import { parse } from "yaml";
import { checkRules } from "../../../common/config/rules.ts";
import { configSchema } from "../../../common/config/schema.ts";
import { packageRoot } from "../../../common/package-root.ts";

const docker = join(packageRoot, "deploy/docker");
const systemd = join(packageRoot, "deploy/systemd");

interface Service {
  readonly image: string;
  readonly entrypoint?: string[];
  readonly volumes?: string[];
  readonly depends_on?: Record<string, unknown>;
  readonly build?: { context: string; dockerfile: string; target: string; args?: Record<string, string> };
}

/** How Prometheus is let in. */
interface Guarded {
  readonly scheme: string;
  readonly tls_config: { readonly ca_file: string };
  readonly basic_auth: { readonly username: string; readonly password_file: string };
}

const readYaml = async <T>(path: string): Promise<T> => parse(await readFile(path, "utf8"), { merge: true }) as T;
const compose = await readYaml<{ services: Record<string, Service>; volumes: Record<string, unknown> }>(
  join(docker, "compose.yaml"),
);
const config = configSchema.parse(await readYaml(join(docker, "ringtune.yaml")));
const dockerfile = await readFile(join(docker, "Dockerfile"), "utf8");

describe("compose.yaml", () => {
  test("every file and volume that a service mounts is there", async () => {
    for (const [name, { volumes = [], depends_on: needed = {} }] of Object.entries(compose.services)) {
      for (const volume of volumes) {
        const [source = ""] = volume.replace(/\$\{\w+:-([^}]*)\}/, "$1").split(":");
        if (source.startsWith(".")) await access(resolve(docker, source));
        else expect(Object.keys(compose.volumes), name).toContain(source);
      }
      for (const other of Object.keys(needed)) expect(Object.keys(compose.services)).toContain(other);
    }
  });

  test("the configuration is valid, and its ports are those of workers, checks and Prometheus", async () => {
    expect(checkRules(config)).toEqual([]);
    const worker = compose.services["worker"]!.entrypoint!;
    expect(worker).toContain(`--coordinator=coordinator:${config.cluster.port}`);
    expect(worker).toContain(`--certs=${config.cluster.certs}`);
    const scrape = await readYaml<{
      scrape_configs: { job_name: string; static_configs: { targets: string[] }[] }[];
      rule_files: string[];
    }>(join(docker, "prometheus.yml"));
    expect(scrape.scrape_configs[0]!.static_configs[0]!.targets).toEqual([`coordinator:${config.metrics.port}`]);
    const [{ scheme, tls_config: tls, basic_auth: login }] = scrape.scrape_configs as unknown as [Guarded];
    expect([config.metrics.certs, config.metrics.insecure, scheme]).toEqual([config.cluster.certs, false, "https"]);
    expect(config.metrics.basic_auth).toEqual(login);
    const made = compose.services["certs"]!.entrypoint!.join(" ");
    for (const path of [login.password_file, tls.ca_file]) {
      expect(made, path).toContain(path.replace("ca.pem", ""));
      for (const name of ["coordinator", "prometheus"]) {
        expect(compose.services[name]!.volumes, name).toContain(`metrics:${dirname(path)}:ro`);
      }
    }
    // It has no business with keys.
    expect(compose.services["prometheus"]!.volumes!.filter((volume) => volume.startsWith("certs:"))).toEqual([]);
    const local = await readYaml<typeof scrape>(join(packageRoot, "deploy/prometheus/prometheus.yml"));
    expect(scrape.scrape_configs[0]!.job_name).toBe(local.scrape_configs[0]!.job_name);
    const mounted = compose.services["prometheus"]!.volumes!.map((volume) => volume.split(":")[1]);
    for (const name of scrape.rule_files) expect(mounted).toContain(`/etc/prometheus/${name}`);
  });

  test("Grafana finds its data source and its dashboards where they are mounted", async () => {
    const mounts = compose.services["grafana"]!.volumes!.map((volume) => volume.split(":").slice(0, 2));
    const provisioning = join(packageRoot, "deploy/grafana/provisioning");
    const { providers } = await readYaml<{ providers: { options: { path: string } }[] }>(
      join(provisioning, "dashboards/ringtune.yaml"),
    );
    expect(mounts).toContainEqual(["../grafana/dashboards", providers[0]!.options.path]);
    expect(mounts).toContainEqual(["../grafana/provisioning", "/etc/grafana/provisioning"]);
    expect(await readFile(join(provisioning, "datasources/ringtune.yaml"), "utf8")).toContain(
      "${RINGTUNE_PROMETHEUS_URL}",
    );
    const text = await readFile(join(docker, "compose.yaml"), "utf8");
    const [, home] = /HOME_DASHBOARD_PATH: \S*\/(\S+\.json)/.exec(text) ?? [];
    expect(await readdir(join(packageRoot, "deploy/grafana/dashboards"))).toContain(home);
  });

  test("no port of a service is open beyond this machine, and workers have a secret", async () => {
    for (const service of Object.values(compose.services)) {
      for (const port of (service as { ports?: string[] }).ports ?? []) expect(port).toMatch(/^127\.0\.0\.1:/);
    }
    expect(await readFile(join(docker, "compose.yaml"), "utf8")).toMatch(/RINGTUNE_JOIN_TOKEN:\?/);
  });
});

describe("the Dockerfile", () => {
  const stages = [...dockerfile.matchAll(/^FROM (\S+) AS (\S+)$/gm)].map(([, base, name]) => ({
    base: base!,
    name: name!,
  }));

  test("every variant runs `ringtune` as nobody special, in the last stage, and the default one is cpu", async () => {
    expect(stages.at(-1)).toEqual({ base: "base-${VARIANT}", name: "runtime" });
    expect(stages.at(-2)).toEqual({ base: "app-${VARIANT}", name: "app" });
    const cuda = await readYaml<typeof compose>(join(docker, "compose.cuda.yaml"));
    expect(dockerfile).toMatch(/^ARG VARIANT=cpu$/m);
    for (const variant of ["cpu", cuda.services["worker"]!.build!.args!["VARIANT"]]) {
      for (const part of ["app", "base"]) expect(stages.map(({ name }) => name)).toContain(`${part}-${variant}`);
    }
    const body = dockerfile.split(" AS runtime\n")[1]!;
    expect(body).toMatch(/^USER 10001:10001$/m);
    expect(body).toMatch(/^ENTRYPOINT \["ringtune"\]$/m);
    expect(body).toContain("ln -s /app/dist/coordinator/cli/main.js /usr/local/bin/ringtune");
    expect(dockerfile).toMatch(/^ENV ONNXRUNTIME_NODE_INSTALL=skip$/m);
    expect(compose.services["worker"]!.build).toMatchObject({
      dockerfile: "deploy/docker/Dockerfile",
      target: "runtime",
    });
  });

  test("what it copies is there, from stages that come before", async () => {
    const built = new Set(["node_modules", "dist"]);
    const known = new Set<string>();
    for (const line of dockerfile.split("\n")) {
      const [, name] = /^FROM \S+ AS (\S+)/.exec(line) ?? [];
      const [, from, paths] = /^COPY (?:--from=(\S+) )?(.*) \S+$/.exec(line) ?? [];
      if (from !== undefined) expect(known.has(from) || from.includes(":"), line).toBe(true);
      if (from === undefined || from === "build") {
        for (const path of (paths ?? "").split(" ").map((each) => each.replace(/^\/src\//, ""))) {
          if (path !== "" && !built.has(path)) await access(join(packageRoot, path));
        }
      }
      if (name !== undefined) known.add(name);
    }
    expect(known.size).toBe(stages.length);
  });
});

describe("start-or-resume", () => {
  const script = join(packageRoot, "deploy/start-or-resume");

  test("begins a run, goes on with one that has a checkpoint, and keeps one that has none", async () => {
    const folder = await mkdtemp(join(tmpdir(), "ringtune-start-"));
    onTestFinished(() => rm(folder, { recursive: true }));
    const called = (...args: string[]): string => {
      const { status, stdout, stderr } = spawnSync(script, args, {
        encoding: "utf8",
        env: { ...process.env, RINGTUNE: "echo" },
      });
      expect(status, stderr).toBe(0);
      return stdout.trim();
    };
    const run = join(folder, "runs/mine");
    const begins = `coordinator c.yaml --set checkpoint.dir=${folder}/runs --set checkpoint.name=mine`;
    expect(called("c.yaml", run)).toBe(begins);
    await mkdir(run, { recursive: true });
    expect(called("c.yaml", run)).toBe(begins);
    expect((await readdir(join(folder, "runs"))).join()).toMatch(/^mine\.\d+$/);
    await mkdir(join(run, "latest"), { recursive: true });
    expect(called("c.yaml", run, "--insecure")).toBe(
      `coordinator c.yaml --set checkpoint.dir=${folder}/runs --insecure --resume ${run}`,
    );
    expect(spawnSync(script, ["c.yaml"]).status).toBe(2);
    expect((await stat(script)).mode & 0o111).toBe(0o111);
  });
});

describe.skipIf(spawnSync("systemd-analyze", ["--version"]).status !== 0)("the systemd units", () => {
  test.each(["ringtune-coordinator.service", "ringtune-worker@.service"])("%s has no mistake", async (name) => {
    const folder = await mkdtemp(join(tmpdir(), "ringtune-units-"));
    onTestFinished(() => rm(folder, { recursive: true }));
    const unit = await readFile(join(systemd, name), "utf8");
    const [, program = ""] = /^ExecStart=(\S+)/m.exec(unit) ?? [];
    expect(["/usr/bin/ringtune", "/usr/lib/ringtune/deploy/start-or-resume"]).toContain(program);
    // The programs are not installed where the units look for them.
    const path = join(folder, name.replace("@.", "@0."));
    await writeFile(path, unit.replace(program, "/bin/true"));
    await copyFile(path, join(folder, name));
    const { status, stdout, stderr } = spawnSync("systemd-analyze", ["verify", "--man=no", path], { encoding: "utf8" });
    const own = (stdout + stderr).split("\n").filter((line) => line.includes("ringtune-"));
    expect([status, ...own], stdout + stderr).toEqual([0]);
    await writeFile(path, unit.replace(program, "/bin/true").replace("RestartSec=2", "RestartSec=soon\nRestartt=no"));
    const wrong = spawnSync("systemd-analyze", ["verify", "--man=no", path], { encoding: "utf8" });
    expect(wrong.stdout + wrong.stderr).toMatch(/Restartt/);
  });

  test("exit codes that would come again are not tried again", async () => {
    for (const name of await readdir(systemd)) {
      expect(await readFile(join(systemd, name), "utf8"), name).toMatch(/^RestartPreventExitStatus=2 3 4$/m);
    }
    expect(dirname(systemd)).toBe(join(packageRoot, "deploy"));
  });
});

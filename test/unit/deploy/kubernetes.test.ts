// The manifests of deploy/kubernetes: against the schemas of Kubernetes and of the Prometheus operator, as the packages
// kubernetes-models and @kubernetes-models/prometheus-operator have them, and against each other and the code.

import { readdir, readFile } from "node:fs/promises";
import { createRequire } from "node:module";
import { basename, dirname, join } from "node:path";
import ts from "typescript";
import { describe, expect, test } from "vitest";
import { parse, parseAllDocuments } from "yaml";
import { coordinatorName } from "../../../common/certificates.ts";
import { configSchema } from "../../../common/config/schema.ts";
import { checkRules } from "../../../common/config/rules.ts";
import { errorCodes, exitCodeOf, RingtuneError } from "../../../common/errors.ts";
import { packageRoot } from "../../../common/package-root.ts";

const folder = join(packageRoot, "deploy/kubernetes");
const operator = "@kubernetes-models/prometheus-operator";

type Labels = Readonly<Record<string, string>>;
interface Named {
  readonly name: string;
}

interface Container extends Named {
  readonly args: readonly string[];
  readonly command: readonly string[];
  readonly ports: readonly (Named & { readonly containerPort: number })[];
  readonly volumeMounts: readonly (Named & { readonly mountPath: string })[];
  readonly startupProbe: Probe;
  readonly livenessProbe: Probe;
  readonly readinessProbe: Probe;
}

interface Probe {
  readonly httpGet: { readonly path: string; readonly port: string; readonly scheme?: string };
}

/** Of a ServiceMonitor. */
interface Endpoint {
  readonly port: string;
  readonly scheme: string;
  readonly tlsConfig: { readonly serverName: string; readonly ca: { readonly secret: SecretKey } };
  readonly basicAuth: { readonly username: SecretKey; readonly password: SecretKey };
}

interface SecretKey extends Named {
  readonly key: string;
}

/** What these tests look at, of whichever kind it is. */
interface Manifest {
  readonly apiVersion: string;
  readonly kind: string;
  readonly metadata: { readonly name: string; readonly namespace?: string };
  readonly data: Readonly<Record<string, string>>;
  readonly spec: {
    readonly template: {
      readonly metadata: { readonly labels: Labels };
      readonly spec: {
        readonly volumes: readonly (Named & { readonly secret?: { readonly secretName: string } })[];
        readonly containers: readonly [Container];
      };
    };
    readonly selector: { readonly matchLabels: Labels };
    readonly podSelector: { readonly matchLabels: Labels };
    readonly ports: readonly (Named & { readonly port: number })[];
    readonly ingress: readonly { readonly ports: readonly { readonly port: number }[] }[];
    readonly endpoints: readonly Endpoint[];
    readonly completions: number;
    readonly parallelism: number;
    readonly podFailurePolicy: { readonly rules: readonly { readonly onExitCodes?: { readonly values: number[] } }[] };
  };
}

async function readManifests(): Promise<Manifest[]> {
  const names = (await readdir(folder)).filter((name) => name !== "kustomization.yaml");
  const documents = await Promise.all(
    names.map(async (name) => parseAllDocuments(await readFile(join(folder, name), "utf8"))),
  );
  return documents.flat().map((document) => document.toJS() as Manifest);
}

function isInstalled(name: string): boolean {
  try {
    createRequire(import.meta.url).resolve(`${name}/package.json`);
    return true;
  } catch {
    return false;
  }
}

const moduleOf = ({ apiVersion, kind }: Manifest): string =>
  `${apiVersion.startsWith("monitoring.coreos.com/") ? operator : "kubernetes-models"}/${apiVersion}/${kind}`;

const manifests = await readManifests();
const find = (kind: string, name: string): Manifest => {
  const found = manifests.find((each) => each.kind === kind && each.metadata.name === name);
  if (found === undefined) throw new Error(`there is no ${kind} ${name}`);
  return found;
};

describe.skipIf(!isInstalled("kubernetes-models") || !isInstalled(operator))("with kubernetes-models", () => {
  test.each(manifests.map((each) => [`${each.kind} ${each.metadata.name}`, each] as const))(
    "%s is as its schema has it",
    async (_, manifest) => {
      type Model = new (data: unknown) => { validate(): void };
      const models = (await import(moduleOf(manifest))) as Record<string, Model>;
      const Model = models[manifest.kind]!;
      expect(() => new Model(manifest).validate()).not.toThrow();
      expect(() => new Model({ ...manifest, metadata: { name: 7 } }).validate(), "a wrong one is found").toThrow();
    },
  );

  // The validators let unknown fields pass, as Kubernetes does; the types do not.
  test("no field is misspelt, and one that is would be found", () => {
    const job = find("Job", "ringtune-worker");
    const misspelt = { ...job, spec: { ...job.spec, paralelism: 4 } };
    expect(typeErrors([...manifests, misspelt])).toEqual([
      `Object literal may only specify known properties, and '"paralelism"' does not exist in type 'IJobSpec'.`,
    ]);
  });
});

/** The manifests as TypeScript literals of the models' types. */
function typeErrors(all: readonly Manifest[]): string[] {
  const file = join(packageRoot, "test/unit/deploy/manifests.virtual.ts");
  const lines = all.map((manifest, i) => {
    const model = `Model${i}`;
    return `import type { I${manifest.kind} as ${model} } from ${JSON.stringify(moduleOf(manifest))};\nexport const m${i}: ${model} = ${JSON.stringify(manifest)};`;
  });
  const options: ts.CompilerOptions = {
    module: ts.ModuleKind.NodeNext,
    moduleResolution: ts.ModuleResolutionKind.NodeNext,
    target: ts.ScriptTarget.ES2022,
    strict: true,
    skipLibCheck: true,
    noEmit: true,
    types: [],
  };
  const real = ts.createCompilerHost(options);
  const text = lines.join("\n");
  const host: ts.CompilerHost = {
    ...real,
    fileExists: (name) => name === file || real.fileExists(name),
    readFile: (name) => (name === file ? text : real.readFile(name)),
    getSourceFile: (name, ...rest) =>
      name === file ? ts.createSourceFile(name, text, rest[0]) : real.getSourceFile(name, ...rest),
  };
  return ts
    .getPreEmitDiagnostics(ts.createProgram([file], options, host))
    .map(({ messageText }) => ts.flattenDiagnosticMessageText(messageText, " "));
}

describe("the manifests agree", () => {
  const config = configSchema.parse(parse(find("ConfigMap", "ringtune-config").data["ringtune.yaml"]!));
  const pod = (job: string) => find("Job", job).spec.template.spec;
  const coordinator = pod("ringtune-coordinator").containers[0];
  const worker = pod("ringtune-worker").containers[0];
  const argument = (name: string): string =>
    worker.args.find((each) => each.startsWith(`--${name}=`))!.slice(name.length + 3);
  const portOf = (container: Container, name: string): number | undefined =>
    container.ports.find((port) => port.name === name)?.containerPort;

  test("the configuration is valid", () => {
    expect(checkRules(config)).toEqual([]);
  });

  test("kustomization.yaml names every file, and everything is in its namespace", async () => {
    const { resources, namespace } = parse(await readFile(join(folder, "kustomization.yaml"), "utf8")) as {
      resources: string[];
      namespace: string;
    };
    expect(["kustomization.yaml", ...resources].sort()).toEqual((await readdir(folder)).sort());
    expect(find("Namespace", namespace)).toBeDefined();
    for (const { kind, metadata } of manifests) if (kind !== "Namespace") expect(metadata.namespace).toBe(namespace);
  });

  test("ports of configuration, containers, service, probes and network policies", () => {
    const service = find("Service", "ringtune-coordinator").spec;
    const ports = Object.fromEntries(service.ports.map(({ name, port }) => [name, port]));
    expect(ports).toEqual({ grpc: config.cluster.port, metrics: config.metrics.port });
    expect(portOf(coordinator, "grpc")).toBe(config.cluster.port);
    expect(portOf(coordinator, "metrics")).toBe(config.metrics.port);
    expect(argument("coordinator")).toBe(`ringtune-coordinator:${config.cluster.port}`);
    expect(portOf(worker, "ring")).toBe(Number(argument("ring-port")));
    expect(portOf(worker, "health")).toBe(Number(argument("health")));
    for (const container of [coordinator, worker]) {
      for (const probe of ["startupProbe", "livenessProbe", "readinessProbe"] as const) {
        expect(portOf(container, container[probe].httpGet.port), probe).toBeDefined();
        expect(container[probe].httpGet.path).toBe(probe === "readinessProbe" ? "/readyz" : "/healthz");
      }
    }
    const allowed = (name: string): number[] =>
      find("NetworkPolicy", name).spec.ingress.flatMap((rule) => rule.ports.map(({ port }) => port));
    expect(allowed("ringtune-coordinator")).toEqual([config.cluster.port, config.metrics.port]);
    // Gradients that are reduced while others are computed have the next port.
    const ringPort = Number(argument("ring-port"));
    expect(allowed("ringtune-worker")).toEqual([ringPort, ringPort + 1]);
    expect(portOf(worker, "buckets")).toBe(ringPort + 1);
    const [endpoint] = find("ServiceMonitor", "ringtune").spec.endpoints;
    expect(Object.keys(ports)).toContain(endpoint!.port);
  });

  test("metrics are guarded by TLS and a password, and whoever asks has both", async () => {
    const { certs, basic_auth: login, insecure } = config.metrics;
    expect([certs, insecure]).toEqual([config.cluster.certs, false]);
    const { volumes } = pod("ringtune-coordinator");
    const secretAt = (path: string | undefined): string | undefined => {
      const mount = coordinator.volumeMounts.find(({ mountPath }) => mountPath === path);
      return volumes.find(({ name }) => name === mount?.name)?.secret?.secretName;
    };
    const [{ scheme, tlsConfig, basicAuth }] = find("ServiceMonitor", "ringtune").spec.endpoints as [Endpoint];
    expect(scheme).toBe("https");
    expect(tlsConfig).toEqual({
      ca: { secret: { name: secretAt(certs), key: "ca.pem" } },
      serverName: coordinatorName,
    });
    const { name, key } = basicAuth.password;
    expect([secretAt(dirname(login!.password_file)), basename(login!.password_file)]).toEqual([name, key]);
    // The commands of the documentation make what is mounted and asked for.
    const commands = await readFile(join(packageRoot, "docs/deploy.md"), "utf8");
    const [made = ""] = new RegExp(`^kubectl .* create secret generic ${name} .*$`, "m").exec(commands) ?? [];
    expect(made).toContain(`--from-literal=${basicAuth.username.key}=${login!.username} --from-literal=${key}=`);
    expect(basicAuth.username.name).toBe(name);
    for (const probe of ["startupProbe", "livenessProbe", "readinessProbe"] as const) {
      expect(coordinator[probe].httpGet.scheme).toBe("HTTPS");
    }
  });

  test("volumes, selectors, folders and the number of workers", () => {
    for (const name of ["ringtune-coordinator", "ringtune-worker"]) {
      const { volumes, containers } = pod(name);
      const mounted = containers[0].volumeMounts.map((mount) => mount.name);
      expect(mounted.sort()).toEqual(volumes.map((volume) => volume.name).sort());
      const { labels } = find("Job", name).spec.template.metadata;
      expect(find("PodDisruptionBudget", name).spec.selector.matchLabels).toEqual(labels);
      expect(find("NetworkPolicy", name).spec.podSelector.matchLabels).toEqual(labels);
    }
    expect(find("Service", "ringtune-coordinator").spec.selector).toEqual(
      find("Job", "ringtune-coordinator").spec.template.metadata.labels,
    );
    const paths = coordinator.volumeMounts.map(({ mountPath }) => mountPath);
    expect(paths).toContain(config.cluster.certs);
    expect(coordinator.command[2]).toBe(`${config.checkpoint.dir}/run`);
    const { completions, parallelism } = find("Job", "ringtune-worker").spec;
    expect([completions, parallelism]).toEqual([config.cluster.workers, config.cluster.workers]);
  });

  test("a pod is not started anew after an exit code that would come again", () => {
    const final = [...new Set(errorCodes.map((code) => exitCodeOf(new RingtuneError(code, ""))))]
      .filter((code) => code !== 1 && code !== 130)
      .sort();
    for (const name of ["ringtune-coordinator", "ringtune-worker"]) {
      const { rules } = find("Job", name).spec.podFailurePolicy;
      expect(rules.flatMap(({ onExitCodes }) => onExitCodes?.values ?? []).sort(), name).toEqual(final);
    }
  });
});

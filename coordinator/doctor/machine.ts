// What the machine has, whatever is to be trained on it: versions, GPUs, processors, shared memory, its clock. Looks only.

import { execFile } from "node:child_process";
import { readFile } from "node:fs/promises";
import { createRequire } from "node:module";
import { availableParallelism, cpus, release } from "node:os";
import { promisify } from "node:util";
import { listNvidiaGpus, type NvidiaGpus } from "../../common/nvidia.ts";
import { listRocmGpus, type RocmGpus } from "../../common/rocm.ts";
import { packageRoot, packageVersion } from "../../common/package-root.ts";
import { fail, ok, warn, type Finding } from "./finding.ts";

const run = promisify(execFile);

/** Node, Ringtune and the packages with native code, which have to be there for this platform. */
export async function examineVersions(): Promise<Finding[]> {
  const wanted = (await packageJson(packageRoot))["engines"] as { readonly node: string };
  const least = /(\d+)\.(\d+)/.exec(wanted.node)!.slice(1).map(Number);
  const own = process.versions.node.split(".").map(Number);
  const isOld = own[0]! < least[0]! || (own[0] === least[0] && own[1]! < least[1]!);
  const node = `Node ${process.versions.node} on ${process.platform} ${process.arch} (${release()})`;
  const findings = [
    isOld ? fail("versions", `${node}, but Ringtune ${packageVersion} needs ${wanted.node}`) : ok("versions", node),
  ];
  const packages: string[] = [];
  for (const name of ["onnxruntime-node", "zeromq", "@grpc/grpc-js", "classic-level", "koffi"]) {
    try {
      packages.push(`${name} ${await packageVersionOf(name)}`);
    } catch {
      findings.push(fail("versions", `the package ${name} is not installed; run make setup`));
    }
  }
  findings.push(ok("versions", [`ringtune ${packageVersion}`, ...packages].join(", ")));
  return findings;
}

/** NVIDIA's GPUs as their driver lists them: what is there, what its memory has room for, and whether one is listed twice. */
export async function examineGpus(
  list: (environment: NodeJS.ProcessEnv) => Promise<NvidiaGpus> = listNvidiaGpus,
  environment: NodeJS.ProcessEnv = process.env,
  listAmd: (environment: NodeJS.ProcessEnv) => Promise<RocmGpus> = listRocmGpus,
): Promise<Finding[]> {
  const found = await list(environment);
  if (found.kind === "unknown") {
    const amd = await listAmd(environment);
    const none = ok("devices", `no NVIDIA GPU (${found.reason}); other GPUs are found by the worker, through WebGPU`);
    return amd.kind === "unknown" || amd.gpus.length === 0
      ? [none]
      : [none, ok("devices", `of AMD: ${countOf(amd.gpus)}; computed on through WebGPU, not through ROCm`)];
  }
  const visible = environment["CUDA_VISIBLE_DEVICES"];
  if (found.gpus.length === 0) {
    const why =
      visible === undefined
        ? "nvidia-smi lists none"
        : `CUDA_VISIBLE_DEVICES=${visible} leaves none of them; unset it, or name one that nvidia-smi -L lists`;
    return [warn("devices", `no NVIDIA GPU can be used: ${why}`)];
  }
  const findings = [ok("devices", countOf(found.gpus))];
  const twice = found.gpus.find(({ uuid }, index) => found.gpus.findIndex((other) => other.uuid === uuid) !== index);
  if (twice !== undefined) findings.push(fail("devices", `${twice.name} is there twice, with UUID ${twice.uuid}`));
  return findings;
}

/** "2 x NVIDIA H100, 1 x NVIDIA T4" */
function countOf(gpus: readonly { readonly name: string }[]): string {
  const names = new Map<string, number>();
  for (const { name } of gpus) names.set(name, (names.get(name) ?? 0) + 1);
  return [...names].map(([name, count]) => `${count} x ${name}`).join(", ");
}

/** Workers that compute on processors share them. */
export function examineProcessors(workers: number): Finding[] {
  const cores = availableParallelism();
  const model = cpus()[0]?.model.trim() ?? "unknown processor";
  const processors = `${cores} cores for ${workers} worker${workers === 1 ? "" : "s"} (${model})`;
  return [
    workers > cores
      ? warn("processors", `${processors}: workers that share a core wait for each other`)
      : ok("processors", processors),
  ];
}

/** Bytes that programs may still take, as Linux estimates it within the limit of this process's control group; else undefined. */
export async function availableMemory(): Promise<number | undefined> {
  const text = await readFile("/proc/meminfo", "utf8").catch(() => "");
  const kilobytes = /^MemAvailable:\s+(\d+) kB/m.exec(text)?.[1];
  if (kilobytes === undefined) return undefined;
  const [limit, used] = await Promise.all(
    ["memory.max", "memory.current"].map(async (name) =>
      Number(await readFile(`/sys/fs/cgroup/${name}`, "utf8").catch(() => "none")),
    ),
  );
  const free = Number(kilobytes) * 1024;
  return Number.isFinite(limit) && Number.isFinite(used) ? Math.min(free, limit! - used!) : free;
}

/** Asks systemd whether the clock is kept in step: "yes", "no", or undefined where it can't say. */
async function askTimedatectl(): Promise<string | undefined> {
  const args = ["show", "--property=NTPSynchronized", "--value"];
  return run("timedatectl", args, { timeout: 5000 }).then(
    ({ stdout }) => stdout.trim(),
    () => undefined,
  );
}

/** Whether the clock is kept in step with others: certificates and tokens have dates, and metrics are dated. */
export async function examineClock(isSynchronized = askTimedatectl): Promise<Finding[]> {
  const answer = await isSynchronized();
  const time = new Date().toISOString();
  if (answer === "yes") return [ok("clock", `${time}, kept in step by a time service`)];
  const use = "certificates and tokens have dates, so with several hosts";
  if (answer === "no") return [warn("clock", `${time}, and no time service keeps it in step; ${use} start one`)];
  return [ok("clock", `${time}; whether a time service keeps it can't be asked here; ${use} compare their clocks`)];
}

async function packageVersionOf(name: string): Promise<string> {
  const require = createRequire(import.meta.url);
  for (const folder of require.resolve.paths(name) ?? []) {
    const json = await packageJson(`${folder}/${name}`).catch(() => undefined);
    if (json !== undefined) return String(json["version"]);
  }
  throw new Error(`no package ${name}`);
}

async function packageJson(folder: string): Promise<Record<string, unknown>> {
  return JSON.parse(await readFile(`${folder}/package.json`, "utf8")) as Record<string, unknown>;
}

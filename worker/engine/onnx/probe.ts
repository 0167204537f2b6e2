// Tries an execution provider in a process of its own: a driver that crashes or hangs takes that process down and not
// the worker. Says whether a small graph runs, and which device files and libraries the provider opened to run it.

import { execFile } from "node:child_process";
import { createRequire } from "node:module";
import type { Provider } from "./host.ts";
import { encodeModel } from "./proto.ts";

export type ProbeResult =
  | { readonly kind: "works"; readonly opened: readonly string[] }
  /** In words: what the provider said, or how the process ended. */
  | { readonly kind: "fails"; readonly reason: string };

/** A first start of CUDA reads gigabytes of libraries; Metal and Vulkan take a second at most. */
const limitMs = 60_000;

const size = 64;

/** Multiplies a few numbers on the provider and checks one of them. Resolves, whatever happens. */
export async function probeProvider(
  provider: Provider,
  env: NodeJS.ProcessEnv = process.env,
  onnxruntime?: string,
): Promise<ProbeResult> {
  const { error, stdout, stderr } = await runProbe(provider, env, onnxruntime);
  const answer = /^RINGTUNE (.*)$/m.exec(stdout)?.[1];
  // An answer counts even if the driver crashes afterwards, while the process ends.
  const result = answer === undefined ? undefined : (JSON.parse(answer) as ProbeResult);
  if (result?.kind === "works") return result;
  // Which library is missing is only in ONNX Runtime's log.
  const missing = /: (\S+: cannot open shared object file)/.exec(stderr)?.[1];
  return { kind: "fails", reason: missing ?? result?.reason ?? describeEnd(error) };
}

interface Ended {
  readonly error: (Error & { killed?: boolean; signal?: NodeJS.Signals | null }) | null;
  readonly stdout: string;
  readonly stderr: string;
}

/** The process, to its end. */
export function runProbe(
  provider: Provider,
  env: NodeJS.ProcessEnv,
  onnxruntime = createRequire(import.meta.url).resolve("onnxruntime-node"),
): Promise<Ended> {
  const task = {
    onnxruntime,
    model: Buffer.from(squareModel()).toString("base64"),
    options: { executionProviders: executionProviders(provider), logSeverityLevel: 4 },
    size,
  };
  return new Promise((resolve) => {
    const args = ["-e", program, JSON.stringify(task)];
    execFile(process.execPath, args, { env, timeout: limitMs, killSignal: "SIGKILL" }, (error, stdout, stderr) =>
      resolve({ error: error as Ended["error"], stdout, stderr }),
    );
  });
}

/** As ONNX Runtime's session options have them. What a provider lacks runs on the one after it. */
export function executionProviders({ name, index }: Provider): (string | { name: string; deviceId: number })[] {
  switch (name) {
    case "cpu":
      return ["cpu"];
    case "webgpu":
    case "coreml":
    case "dml":
      return [name, "cpu"];
    case "cuda":
      return [{ name, deviceId: index }, "cpu"];
    case "tensorrt":
      return [{ name, deviceId: index }, { name: "cuda", deviceId: index }, "cpu"];
  }
}

function describeEnd(error: Ended["error"]): string {
  if (error?.killed) return `a first small graph took longer than ${limitMs / 1000} s`;
  if (error?.signal) return `its driver crashed (${error.signal}) on a first small graph`;
  return "a first small graph ended without a result";
}

function squareModel(): Uint8Array {
  const value = (name: string) => ({ name, shape: [size], dtype: "float32" as const });
  return encodeModel({
    inputs: [value("x")],
    outputs: [value("y")],
    nodes: [{ operator: "Mul", domain: "", inputs: ["x", "x"], outputs: ["y"], attributes: {} }],
    constants: [],
  });
}

/**
 * The whole program of the other process, as text: it must run without anything of this package being compiled. It kills
 * itself with its answer on the way, because a driver may also crash or hang while it is unloaded.
 */
const program = `
  const fs = require("node:fs");
  const task = JSON.parse(process.argv[1]);
  const answer = (result) => {
    fs.writeSync(1, "\\nRINGTUNE " + JSON.stringify(result) + "\\n");
    process.kill(process.pid, "SIGKILL");
  };
  const open = () => {
    if (process.platform !== "linux") return [];
    const devices = fs.readdirSync("/proc/self/fd").map((fd) => {
      try { return fs.readlinkSync("/proc/self/fd/" + fd); } catch { return ""; }
    });
    const libraries = fs.readFileSync("/proc/self/maps", "utf8").split("\\n").map((line) => line.split(/\\s+/)[5] ?? "");
    const all = [...devices.filter((path) => path.startsWith("/dev/")), ...libraries.filter((path) => path.includes(".so"))];
    return [...new Set(all)];
  };
  const attempt = async () => {
    const { InferenceSession, Tensor } = require(task.onnxruntime);
    const session = await InferenceSession.create(Buffer.from(task.model, "base64"), task.options);
    const x = new Tensor("float32", new Float32Array(task.size).fill(3), [task.size]);
    const { y } = await session.run({ x });
    if (y.data[7] !== 9) throw new Error("it computes 3 x 3 = " + y.data[7]);
    answer({ kind: "works", opened: open() });
  };
  attempt().catch((error) => answer({ kind: "fails", reason: String(error.message) }));
`;

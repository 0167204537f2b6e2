// Which TensorFlow.js backend computes: the fastest that loads. The GPU and the native ones are installed by the user
// (their set-up downloads libtensorflow) and only ever loaded from here; wasm and cpu come with Ringtune.

import { createRequire } from "node:module";
import { dirname, sep } from "node:path";
import { deviceProblem } from "../../../common/devices.ts";
import { describeError, RingtuneError } from "../../../common/errors.ts";
import { tf } from "../../model/tf.ts";

interface Backend {
  /** As TensorFlow.js registers it. */
  readonly name: string;
  /** For logs: "tfjs wasm". */
  readonly description: string;
}

export interface TfjsBackend extends Backend {
  /** Why backends that "auto" prefers were not taken, best first; empty for one that was asked for by name. */
  readonly why: readonly string[];
}

interface Candidate {
  readonly device: string;
  readonly backend: Backend;
  /** Registers and initialises the backend; rejects with the reason if it cannot. */
  readonly load: () => Promise<void>;
}

const candidates: readonly Candidate[] = [
  {
    device: "gpu",
    backend: { name: "tensorflow", description: "tfjs gpu (tfjs-node-gpu)" },
    load: () => loadNative("@tensorflow/tfjs-node-gpu"),
  },
  {
    device: "node",
    backend: { name: "tensorflow", description: "tfjs node (tfjs-node)" },
    load: () => loadNative("@tensorflow/tfjs-node"),
  },
  { device: "wasm", backend: { name: "wasm", description: "tfjs wasm" }, load: loadWasm },
  { device: "cpu", backend: { name: "cpu", description: "tfjs cpu" }, load: loadCpu },
];

/**
 * The backend for `device` ("gpu", "node", "wasm", "cpu"), or with "auto" the first of them that loads.
 * Throws RingtuneError `no_device` for any other device, `engine_unavailable` with the reason when it does not load.
 */
export async function selectTfjsBackend(device: string): Promise<TfjsBackend> {
  const wanted = candidates.filter((candidate) => device === "auto" || candidate.device === device);
  const problem = deviceProblem("tfjs", device);
  if (problem !== undefined) throw new RingtuneError("no_device", `${device} ${problem}`, { details: { device } });
  const reasons: string[] = [];
  for (const { device, backend, load } of wanted) {
    try {
      await load();
      return { ...backend, why: reasons };
    } catch (error) {
      reasons.push(`not ${device}: ${describeError(error).split("\n")[0]}`);
    }
  }
  throw new RingtuneError(
    "engine_unavailable",
    `the tfjs engine does not start (${reasons.join("; ")}); use engine: onnx`,
    {
      details: { device },
    },
  );
}

async function loadNative(packageName: string): Promise<void> {
  try {
    // Not a dependency, so the type checker must not look for it.
    await import(packageName);
  } catch (cause) {
    const missing = describeError(cause).startsWith(`Cannot find package '${packageName}'`);
    throw missing ? new Error(`${packageName} is not installed`, { cause }) : cause;
  }
  await initialise("tensorflow");
}

async function loadWasm(): Promise<void> {
  const { setWasmPaths } = await import("@tensorflow/tfjs-backend-wasm");
  const entry = createRequire(import.meta.url).resolve("@tensorflow/tfjs-backend-wasm");
  setWasmPaths(dirname(entry) + sep);
  await initialise("wasm");
}

async function loadCpu(): Promise<void> {
  await import("@tensorflow/tfjs-backend-cpu");
  await initialise("cpu");
}

async function initialise(name: string): Promise<void> {
  tf.enableProdMode(); // Without it the cpu backend prints an advertisement.
  const before = tf.engine().backendName;
  if (!(await tf.setBackend(name))) throw new Error(`TensorFlow.js cannot initialise its backend ${name}`);
  if (before) await tf.setBackend(before);
}

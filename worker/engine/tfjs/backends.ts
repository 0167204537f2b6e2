// Which TensorFlow.js backend computes: the fastest that loads. The GPU and the native ones are installed by the user
// (their set-up downloads libtensorflow) and only ever loaded from here; wasm and cpu come with Ringtune.

import { createRequire } from "node:module";
import { dirname, sep } from "node:path";
import { describeError, RingtuneError } from "../../../common/errors.ts";
import { tf } from "../../model/tf.ts";

export interface TfjsBackend {
  /** As TensorFlow.js registers it. */
  readonly name: string;
  /** For logs: "tfjs wasm". */
  readonly description: string;
}

interface Candidate {
  readonly device: string;
  readonly backend: TfjsBackend;
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
  if (wanted.length === 0) {
    const known = candidates.map((candidate) => candidate.device).join(", ");
    throw new RingtuneError("no_device", `the tfjs engine has no device ${device}; it has ${known}`, {
      details: { device },
    });
  }
  const reasons: string[] = [];
  for (const { device, backend, load } of wanted) {
    try {
      await load();
      return backend;
    } catch (error) {
      reasons.push(`${device}: ${describeError(error).split("\n")[0]}`);
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
  // Not a dependency, so the type checker must not look for it.
  await import(packageName);
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

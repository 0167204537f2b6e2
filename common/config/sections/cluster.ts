// `cluster`: processes, addresses and what happens when they fail.

import { z } from "zod";
import { deviceNames, numberedDevice } from "../../devices.ts";
import { oneWeek, upTo } from "./bounds.ts";
import { store } from "./store.ts";

export const cluster = z
  .strictObject({
    workers: z
      .union([z.literal("auto"), upTo(4096)])
      .default("auto")
      .describe(
        'Worker processes that take part; "auto" is one for each NVIDIA GPU or WebGPU adapter that the device can use, or one.',
      ),
    min_workers: z
      .union([z.literal("all"), upTo(4096)])
      .default("all")
      .describe(
        "Workers that are enough to begin with when the others do not come within join_timeout_s, can't be started, or their hosts do not answer; they may join later. all: the run ends with the cause instead.",
      ),
    balance: z
      .enum(["equal", "speed"])
      .default("equal")
      .describe(
        "How a batch is divided: equal gives every worker as many sequences, speed as many as it is fast, measured while it trains. For workers that are not alike; the batch and the maths stay the same.",
      ),
    share_devices: z
      .boolean()
      .default(false)
      .describe(
        "Let several workers compute on one GPU, which makes all of them slower: for tests. Otherwise only the first that claims a GPU takes part, and the others are refused with a sentence that names both. Workers of a CPU always share it.",
      ),
    threads: z
      .union([z.literal("auto"), upTo(1024)])
      .default("auto")
      .describe('Compute threads per worker; "auto" shares the cores of the host among its workers.'),
    engine: z
      .enum(["onnx", "tfjs"])
      .default("onnx")
      .describe("onnx: compiled graph in ONNX Runtime. tfjs: eager TensorFlow.js."),
    device: z
      .union([
        z.enum(deviceNames),
        z
          .string()
          .regex(numberedDevice)
          .meta({ examples: ["cuda:1"] }),
      ])
      .default("auto")
      .describe(
        "What computes. onnx: cpu, webgpu, cuda, tensorrt, coreml, dml; cuda:1 is the second GPU. tfjs: gpu (tfjs-node-gpu), node (tfjs-node), wasm, cpu. auto takes the best that is there and says why; see docs/devices.md.",
      ),
    host: z
      .string()
      .min(1)
      .default("127.0.0.1")
      .describe(
        "Address that the coordinator listens on: loopback, or, for workers on other hosts, an address of this host or 0.0.0.0 for all. Beyond loopback cluster.certs is needed; see docs/security.md.",
      ),
    port: z.int().min(0).max(65535).default(0).describe("gRPC port of the coordinator; 0 takes a free one."),
    certs: z
      .string()
      .min(1)
      .optional()
      .describe(
        "Certificate folder, as `ringtune certs init` makes it. With it, coordinator and workers speak mutual TLS, who shows no certificate of its authority gets no connection, and gradients are encrypted with CURVE wherever they leave a host's memory.",
      ),
    insecure: z
      .boolean()
      .default(false)
      .describe(
        "Listen beyond loopback without certificates, and with certificates leave the ring unencrypted, which is faster. Everybody on the network can then read what travels. Workers must say --insecure too.",
      ),
    join_token_ttl_s: z
      .number()
      .positive()
      .max(10 * 365 * 86_400)
      .default(30 * 86_400)
      .describe(
        "Seconds for which the join token of a run lets workers in, those that come back after a lost connection too; 30 days. `ringtune token` makes others.",
      ),
    join_timeout_s: z.number().positive().max(oneWeek).default(60).describe("Seconds to wait for all workers to join."),
    recover_s: z
      .number()
      .positive()
      .max(oneWeek)
      .default(300)
      .describe(
        "Seconds that a worker looks for a coordinator that is gone, and that a coordinator waits for workers that hold the weights to come back. Then the run goes on from its newest checkpoint. Not with `ringtune train`, whose workers end with it.",
      ),
    heartbeat_s: z.number().min(0.05).max(3600).default(1).describe("Seconds between the heartbeats of a worker."),
    verify_every: z
      .int()
      .min(0)
      .default(100)
      .describe(
        "Steps between comparisons of the workers' weights and optimizer state by digest; a worker that differs is named and gets those of another. 0 never compares.",
      ),
    restarts: z
      .int()
      .min(0)
      .max(100)
      .default(5)
      .describe(
        "How often `ringtune train` starts a worker that crashed again, within ten minutes, after 1, 2, 4 ... seconds; it joins the others with their weights. 0: never.",
      ),
    step_timeout_s: z
      .number()
      .positive()
      .max(oneWeek)
      .default(600)
      .describe("Longest a step may take on a worker before the run stops with its name."),
    store: store.prefault({}),
  })
  .describe("Processes and addresses.");

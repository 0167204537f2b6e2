// A worker that keeps to the protocol and computes nothing: real stream, real messages, invented votes. For load tests of
// the coordinator; it has no ring, so it can't tell anything about collectives.

import { mkdir } from "node:fs/promises";
import { setTimeout as delay } from "node:timers/promises";
import { assertNever, RingtuneError } from "../../common/errors.ts";
import { emptyDigest } from "../../common/sample-digest.ts";
import type { FromCoordinator } from "../../proto/messages.ts";
import { openSession, type CoordinatorSession } from "../../proto/session.ts";
import { PROTOCOL_VERSION } from "../../proto/version.ts";

export interface SimulatedWorkerOptions {
  /** host:port of the coordinator. */
  readonly coordinator: string;
  readonly joinToken: string;
  readonly id: string;
  /** How long a step's forward and backward pretend to take. */
  readonly computeMs: number;
  /** Just before its vote for `step` leaves. */
  readonly onVote: (step: number) => void;
  /** The commit of `step` has arrived. */
  readonly onCommit: (step: number) => void;
}

type Plan = Extract<FromCoordinator, { kind: "plan" }>["value"];

/** Resolves with the reason when the coordinator says that the run is over. Rejects when the stream breaks. */
export async function simulateWorker(options: SimulatedWorkerOptions): Promise<string> {
  let session: CoordinatorSession | undefined;
  let beat: NodeJS.Timeout | undefined;
  let count = 0;
  let generation = 0;
  /** Told when a commit arrives or a new generation begins. */
  let wake = (): void => undefined;
  let committed = 0;

  /** What is done in order: a commit and a new generation overtake, as with real workers. */
  const perform = async (message: FromCoordinator): Promise<void> => {
    switch (message.kind) {
      case "plan": {
        const plan = message.value;
        if (options.computeMs > 0) await delay(options.computeMs);
        if (plan.generation !== generation) return;
        options.onVote(plan.step);
        session?.send({ kind: "reduced", value: voteFor(plan, options.computeMs) });
        while (committed < plan.step && plan.generation === generation) {
          await new Promise<void>((resolve) => (wake = resolve));
        }
        if (committed >= plan.step) {
          session?.send({
            kind: "applied",
            value: { generation, step: plan.step, seconds: 0, digest: "0", notices: [] },
          });
        }
        return;
      }
      case "evaluate": {
        const { step, shard } = message.value;
        const tokens = shard === null ? 0 : trainedTokens(shard.targets);
        const found = { lossSum: tokens, tokens, notFiniteRows: [], counts: null };
        return session?.send({ kind: "evaluated", value: { generation, step, ...found } });
      }
      case "save": {
        const { step, position, path, part, attempt } = message.value;
        await mkdir(path, { recursive: true });
        const factsJson = part === 0 ? JSON.stringify({ step, position }) : "";
        return session?.send({ kind: "saved", value: { step, attempt, files: [], factsJson, times: null } });
      }
      default:
        throw new RingtuneError("protocol_mismatch", `the coordinator sent an unexpected ${message.kind}`);
    }
  };

  try {
    return await new Promise<string>((resolve, reject) => {
      let tasks = Promise.resolve();
      const hear = (message: FromCoordinator): void => {
        switch (message.kind) {
          case "welcome": {
            const everyMs = message.value.heartbeatSeconds * 1000;
            const doing = { doing: "simulating", inCollective: false };
            beat = setInterval(
              () => session?.send({ kind: "heartbeat", value: { ...doing, count: ++count } }),
              everyMs,
            );
            return;
          }
          case "prepare":
            return session?.send({ kind: "prepared", value: { gpuUuid: "" } });
          case "form": {
            const { step } = message.value;
            generation = message.value.generation;
            committed = step;
            wake();
            const made = {
              engine: "simulated",
              parameters: 1,
              digest: "0",
              engineWhy: [],
              gpuUuid: "",
              notices: [],
              links: [],
            };
            return session?.send({ kind: "formed", value: { generation, step, ...made } });
          }
          case "commit":
            committed = message.value.step;
            options.onCommit(committed);
            return wake();
          case "plan":
          case "evaluate":
          case "save":
            tasks = tasks.then(() => perform(message));
            tasks.catch(reject);
            return;
          case "finish":
            return resolve(message.value.reason);
          default:
            assertNever(message);
        }
      };
      openSession({
        address: options.coordinator,
        timeoutMs: 60_000,
        handlers: {
          message: hear,
          closed: (error) => reject(error ?? new RingtuneError("worker_lost", "the coordinator ended the session")),
        },
      }).then((opened) => {
        session = opened;
        const port = 1024 + (Number(/\d+$/.exec(options.id)?.[0] ?? 0) % 60_000);
        const identity = { workerId: options.id, joinToken: options.joinToken, host: "simulated", pid: process.pid };
        const ringEndpoint = `tcp://127.0.0.1:${port}`;
        session.send({
          kind: "join",
          value: { protocolVersion: PROTOCOL_VERSION, ...identity, ringEndpoint, holding: null },
        });
      }, reject);
    });
  } finally {
    clearInterval(beat);
    await session?.end();
  }
}

const nothingElse = { collectiveSeconds: 0, microbatches: [], buckets: [] };

function voteFor({ generation, step, shard }: Plan, computeMs: number) {
  const tokens = shard === null ? 0 : trainedTokens(shard.targets);
  const times = { dataSeconds: 0, computeSeconds: computeMs / 1000, allReduceSeconds: 0, ...nothingElse };
  const ledger = { rows: shard?.rows ?? 0, sampleDigest: emptyDigest, notFiniteRows: [], notFiniteTensors: [] };
  const sums = { lossSum: tokens, tokens, gradientNorm: 1, digest: "0" };
  return { generation, step, ...sums, times, bytesSent: 0, bytesBetweenHosts: 0, ...ledger };
}

/** Targets that are not masked (-100); int32, little endian. */
function trainedTokens(targets: Buffer): number {
  let tokens = 0;
  for (let at = 0; at + 4 <= targets.length; at += 4) if (targets.readInt32LE(at) !== -100) tokens += 1;
  return tokens;
}

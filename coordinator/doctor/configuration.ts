// What a configuration needs of this machine: ports, space on the disk, data that can be read. The data is prepared as the run
// would, and stays in the cache for it.

import { existsSync } from "node:fs";
import { createServer } from "node:net";
import { dirname, resolve } from "node:path";
import type { Config } from "../../common/config/schema.ts";
import { describeError } from "../../common/errors.ts";
import { describeQuantity } from "../cli/quantities.ts";
import { prepareData, type PreparedData } from "../data/prepare.ts";
import { freeBytes } from "../store/disk-space.ts";
import { ok, fail, warn, type Finding } from "./finding.ts";

/** Whether the run could listen where it is to. */
export async function examinePorts({ cluster, metrics }: Pick<Config, "cluster" | "metrics">): Promise<Finding[]> {
  const wanted = [
    { setting: "cluster.port", host: cluster.host, port: cluster.port },
    ...(metrics.enabled ? [{ setting: "metrics.port", host: metrics.host, port: metrics.port }] : []),
  ];
  return Promise.all(
    wanted.map(async ({ setting, host, port }) => {
      const problem = await bindProblem(host, port);
      const place = `${host}:${port === 0 ? "any free port" : port}`;
      if (problem === undefined) return ok("ports", `${setting} ${place} is free`);
      return fail(
        "ports",
        `${setting} ${place} can't be listened at (${problem}); choose another, or 0 for any free one`,
      );
    }),
  );
}

function bindProblem(host: string, port: number): Promise<string | undefined> {
  return new Promise((done) => {
    const server = createServer();
    server.once("error", (error) => done(describeError(error)));
    server.listen({ host, port, exclusive: true }, () => server.close(() => done(undefined)));
  });
}

/** Space for checkpoints of so many bytes each, and for the next one while the oldest is still there. */
export async function examineDisk({ checkpoint }: Pick<Config, "checkpoint">, bytesEach: number): Promise<Finding[]> {
  const folder = nearestFolder(checkpoint.dir);
  const free = await freeBytes(folder).catch(() => undefined);
  if (free === undefined)
    return [fail("disk", `${folder} can't be looked at; change checkpoint.dir ${checkpoint.dir}`)];
  const kept = checkpoint.keep + 1;
  const need = kept * bytesEach;
  const sizes = `${describeQuantity(free)}B free in ${folder}, ${kept} checkpoints of ${describeQuantity(bytesEach)}B need ${describeQuantity(need)}B`;
  if (need > free) return [fail("disk", `${sizes}; make room, or lower checkpoint.keep ${checkpoint.keep}`)];
  return [need > free / 2 ? warn("disk", `${sizes}, which is most of it`) : ok("disk", sizes)];
}

/** The folder, or the first above it that is there. */
function nearestFolder(path: string): string {
  const folder = resolve(path);
  return existsSync(folder) || dirname(folder) === folder ? folder : nearestFolder(dirname(folder));
}

export interface ExaminedData {
  readonly findings: readonly Finding[];
  readonly data?: PreparedData;
}

export async function examineData(config: Config): Promise<ExaminedData> {
  try {
    const data = await prepareData(config, { onNotice: () => undefined, onProgress: () => undefined });
    const { train, validation } = data.summary.samples;
    const { tokens, truncated, dropped } = data.summary;
    const counts = `${describeQuantity(train)} samples to train on and ${describeQuantity(validation)} to validate, ${describeQuantity(tokens.train)} targets an epoch`;
    const left = `${dropped.empty + dropped.tooLong} dropped, ${truncated} truncated`;
    if (train < config.train.global_batch) {
      const both = `${train} samples don't fill train.global_batch ${config.train.global_batch}`;
      return { findings: [warn("data", `${both}: every step repeats some; lower it, or give more data`)], data };
    }
    return { findings: [ok("data", `${counts}; ${left}`)], data };
  } catch (error) {
    return { findings: [fail("data", describeError(error))] };
  }
}

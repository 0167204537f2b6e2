// What a coordinator listens with: for workers, and for Prometheus. Who calls before there is a driver is kept on the line
// (early-callers.ts).

import { readCredentials, type Credentials } from "../common/certificates.ts";
import type { Config } from "../common/config/schema.ts";
import { RingtuneError } from "../common/errors.ts";
import { serveSessions, type SessionServer } from "../proto/session.ts";
import { createEarlyCallers } from "./early-callers.ts";
import { exposureOf, guardOf } from "./exposure.ts";
import { createMetrics, type Metrics } from "./metrics.ts";
import { serveMetrics, type ServeMetricsOptions } from "./metrics-server.ts";
import type { Progress } from "./progress.ts";
import type { Driver } from "./rpc/driver.ts";
import type { OnClose } from "./run.ts";

export interface Servers {
  readonly metrics: Metrics;
  readonly sessions: SessionServer;
  /** Of cluster.certs. */
  readonly credentials: Credentials | undefined;
  /** Workers are welcome from here on. */
  begin(driver: Driver): void;
  /** Another coordinator leads, and workers that call hear this. */
  refer(error: RingtuneError): void;
  /** This one leads now. */
  prepare(): void;
}

/** Before the data is prepared, so that a busy port is known at once. */
export async function openServers(config: Config, progress: Progress, onClose: OnClose): Promise<Servers> {
  const metrics = createMetrics();
  let driver: Driver | undefined;
  if (config.metrics.enabled) {
    const isReady = (): boolean => driver !== undefined;
    const { host, port } = config.metrics;
    const refused: ServeMetricsOptions["refused"] = (why) => metrics.observeRefusal("metrics", why);
    const server = await serveMetrics({ host, port, metrics, isReady, refused, ...(await guardOf(config.metrics)) });
    onClose(() => server.close());
    progress.notice(`metrics at ${server.url}`);
  }
  const { certs, host } = config.cluster;
  exposureOf(config).forEach((line) => progress.notice(line));
  const credentials = certs === undefined ? undefined : await readCredentials(certs, "coordinator");
  const early = createEarlyCallers();
  const sessions = await serveSessions({
    host,
    port: config.cluster.port,
    ...(credentials === undefined ? {} : { credentials }),
    noticed: (sentence) => progress.decided(sentence),
    refused: (why) => metrics.observeRefusal("workers", why),
    accept: (session) => early.accept(session),
  });
  onClose(() => {
    if (driver === undefined) early.refer(new RingtuneError("unavailable", "the coordinator has stopped"));
    return sessions.close();
  });
  return {
    ...{ metrics, sessions, credentials },
    refer: (error) => early.refer(error),
    prepare: () => early.prepare(),
    begin(ready) {
      driver = ready;
      early.begin((session) => ready.accept(session));
    },
  };
}

// The run as Prometheus metrics. The only file that imports prom-client. What each metric means is metric-catalogue.ts,
// serving them is metrics-server.ts.

import { collectDefaultMetrics, Counter, Gauge, Histogram, Registry } from "prom-client";
import { assert } from "../common/errors.ts";
import { packageVersion } from "../common/package-root.ts";
import type { StepRecord, ValidationRecord } from "../common/records.ts";
import { refusals, type Refusal } from "../proto/front-door.ts";
import type { FromWorker } from "../proto/messages.ts";
import { metricDefinitions, type MetricName } from "./metric-catalogue.ts";
import { scrapeRefusals, type ScrapeRefusal } from "./metrics-server.ts";

type Reduced = Extract<FromWorker, { kind: "reduced" }>["value"];

/** What happens to the session of a worker; `id` is unknown of one that was refused. */
export type SessionEvent =
  | { readonly kind: "joined"; readonly id: string; readonly host: string }
  | { readonly kind: "said"; readonly id: string; readonly message: FromWorker }
  | { readonly kind: "left"; readonly id: string; readonly expected: boolean }
  | { readonly kind: "refused" };

export interface Metrics {
  /** For the Content-Type header of `text`. */
  readonly contentType: string;
  /** The exposition format of all metrics that have a value by now. */
  text(): Promise<string>;
  /** What is known before the first step. */
  begin(run: RunFacts): void;
  observeStep(record: StepRecord): void;
  observeValidation(record: ValidationRecord): void;
  observeCheckpoint(step: number, sizeBytes?: number): void;
  /** A checkpoint could not be written. */
  observeUnsaved(): void;
  /** So many records have not reached the disk. */
  setRecordsWaiting(records: number): void;
  observeSession(event: SessionEvent): void;
  /** Somebody was turned away before anybody heard what it wanted. */
  observeRefusal(
    ...[port, reason]: [port: "workers", reason: Refusal] | [port: "metrics", reason: ScrapeRefusal]
  ): void;
  /** Where the paces of those that take part are read when somebody looks. */
  observePaces(read: () => readonly (readonly [worker: string, pace: WorkerPace])[]): void;
  setWorldSize(workers: number): void;
  setWorldSizeTarget(workers: number): void;
  setGeneration(generation: number): void;
}

export interface WorkerPace {
  readonly lagSeconds: number;
  /** 0 until it is measured. */
  readonly rowsPerSecond: number;
}

export interface RunFacts {
  /** Name of the run directory. */
  readonly run: string;
  /** Of the whole run. */
  readonly steps: number;
  /** That the run was asked to have. */
  readonly workers: number;
  /** Free on the disk of the run directory, asked at every scrape. */
  freeBytes(): Promise<number>;
}

/** From milliseconds to ten minutes. */
const stepBuckets = [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300, 600];

/** Metrics of one run, in a registry of their own. */
export function createMetrics(nowMs: () => number = Date.now): Metrics {
  const registry = new Registry();
  collectDefaultMetrics({ register: registry });
  const own = createOwn(registry);
  const { set, add, observe, forget } = own;
  const now = (): number => nowMs() / 1000;
  let facts: RunFacts | undefined;
  /** Workers speak a thousand times between two scrapes, so their series are written when somebody looks. */
  const workers = new Map<
    string,
    {
      readonly host: string;
      readonly heard: number;
      readonly reduced: Reduced | undefined;
      /** It has formed a generation. */
      readonly takesPart: boolean;
    }
  >();
  let generation = 0;
  /** Since when, and in which generation, a member is missing without which no step was committed yet. */
  let lost: { readonly at: number; readonly generation: number } | undefined;

  for (const reason of refusals) add("ringtune_refusals_total", 0, { port: "workers", reason });
  for (const reason of scrapeRefusals) add("ringtune_refusals_total", 0, { port: "metrics", reason });

  let readPaces: Parameters<Metrics["observePaces"]>[0] = () => [];

  function showPaces(): void {
    for (const [worker, { lagSeconds, rowsPerSecond }] of readPaces()) {
      // One that is gone has no series any more.
      if (rowsPerSecond === 0 || !workers.has(worker)) continue;
      set("ringtune_worker_arrival_lag_seconds", lagSeconds, { worker });
      set("ringtune_worker_rows_per_second", rowsPerSecond, { worker });
    }
  }

  function showWorker(worker: string, heard: number, reduced: Reduced | undefined): void {
    set("ringtune_worker_last_heard_timestamp_seconds", heard, { worker });
    if (!reduced?.times) return;
    const { dataSeconds: data, computeSeconds: compute, allReduceSeconds } = reduced.times;
    for (const [phase, seconds] of Object.entries({ data, compute, all_reduce: allReduceSeconds })) {
      set("ringtune_worker_phase_seconds", seconds, { worker, phase });
    }
    if (compute > 0) set("ringtune_worker_tokens_per_second", reduced.tokens / compute, { worker });
  }

  return {
    contentType: registry.contentType,
    async text() {
      const free = await facts?.freeBytes().catch(() => undefined);
      if (free !== undefined) set("ringtune_run_directory_free_bytes", free);
      for (const [worker, { heard, reduced }] of workers) showWorker(worker, heard, reduced);
      showPaces();
      return registry.metrics();
    },
    begin(run) {
      facts = run;
      set("ringtune_run_info", 1, { run: run.run, version: packageVersion });
      set("ringtune_records_waiting", 0);
      set("ringtune_steps_planned", run.steps);
      set("ringtune_world_size_target", run.workers);
      set("ringtune_last_step_timestamp_seconds", now());
    },
    observeStep(record) {
      set("ringtune_train_loss", record.loss);
      set("ringtune_learning_rate", record.learningRate);
      set("ringtune_gradient_norm", record.gradientNorm);
      set("ringtune_step", record.step);
      set("ringtune_epoch", record.epoch);
      set("ringtune_last_step_timestamp_seconds", now());
      set("ringtune_world_size", record.worldSize);
      set("ringtune_generation", record.generation);
      set("ringtune_all_reduce_bus_bandwidth_bytes_per_second", record.busBandwidth);
      add("ringtune_tokens_processed_total", record.tokens);
      add("ringtune_samples_processed_total", record.samples);
      add("ringtune_steps_committed_total", record.steps ?? 1);
      if (record.ledger !== undefined) {
        for (const state of ["leased", "committed", "requeued", "duplicated", "lost"] as const) {
          set("ringtune_ledger_samples", record.ledger[state], { state });
        }
      }
      add("ringtune_all_reduce_bytes_total", record.allReduceBytes);
      add("ringtune_all_reduce_bytes_between_hosts_total", record.bytesBetweenHosts ?? 0);
      const { data, compute, allReduce, commit, total } = record.seconds;
      const phases = { data, compute, all_reduce: allReduce, commit, total };
      for (const [phase, seconds] of Object.entries(phases)) observe("ringtune_step_seconds", seconds, { phase });
      if (lost === undefined || record.generation === lost.generation) return;
      observe("ringtune_recovery_seconds", now() - lost.at);
      lost = undefined;
    },
    observeValidation(record) {
      set("ringtune_validation_loss", record.loss);
      set("ringtune_validation_perplexity", record.perplexity);
      for (const [metric, value] of Object.entries(record.metrics ?? {})) {
        set("ringtune_validation_metric", value, { metric });
      }
    },
    observeCheckpoint(step, sizeBytes) {
      set("ringtune_checkpoint_step", step);
      if (sizeBytes === undefined) return;
      set("ringtune_checkpoint_bytes", sizeBytes);
      set("ringtune_checkpoint_timestamp_seconds", now());
    },
    observeUnsaved: () => add("ringtune_checkpoint_failures_total", 1),
    setRecordsWaiting: (records) => set("ringtune_records_waiting", records),
    observeSession(event) {
      if (event.kind === "refused") return add("ringtune_workers_refused_total", 1);
      if (event.kind === "left") {
        if (!event.expected) add("ringtune_workers_lost_total", 1);
        if (!event.expected && workers.get(event.id)?.takesPart) lost ??= { at: now(), generation };
        workers.delete(event.id);
        return forget(event.id);
      }
      const known = workers.get(event.id);
      const host = event.kind === "joined" ? event.host : (known?.host ?? "");
      if (event.kind === "joined") add("ringtune_workers_joined_total", 1);
      const message = event.kind === "said" ? event.message : undefined;
      if (message?.kind === "formed") {
        const { engine: device, gpuUuid } = message.value;
        set("ringtune_worker_info", 1, { worker: event.id, host, device, gpu_uuid: gpuUuid });
      }
      if (message?.kind === "saved" && message.value.times !== null) {
        const { waitedSeconds: waited, copiedSeconds: copied, writtenSeconds: written } = message.value.times;
        for (const [phase, seconds] of Object.entries({ waited, copied, written })) {
          observe("ringtune_checkpoint_part_seconds", seconds, { phase });
        }
      }
      const reduced = message?.kind === "reduced" ? message.value : known?.reduced;
      const takesPart = message?.kind === "formed" || (known?.takesPart ?? false);
      workers.set(event.id, { host, heard: now(), reduced, takesPart });
    },
    observeRefusal: (port, reason) => add("ringtune_refusals_total", 1, { port, reason }),
    observePaces: (read) => void (readPaces = read),
    setWorldSizeTarget: (workers) => set("ringtune_world_size_target", workers),
    setWorldSize: (workers) => set("ringtune_world_size", workers),
    setGeneration: (number) => set("ringtune_generation", (generation = number)),
  };
}

type Labels = Record<string, string>;

interface OwnMetrics {
  readonly set: (name: MetricName, value: number, labels?: Labels) => void;
  readonly add: (name: MetricName, value: number, labels?: Labels) => void;
  readonly observe: (name: MetricName, value: number, labels?: Labels) => void;
  /** Removes the series of a worker that is gone. */
  readonly forget: (worker: string) => void;
}

/**
 * The metrics of the catalogue. Counters are there from the start with 0. A gauge without a value is not: the loss is not
 * 0 before the first step, so there is none.
 */
function createOwn(registry: Registry): OwnMetrics {
  const gauges = new Map<string, Gauge>();
  const counters = new Map<string, Counter>();
  const histograms = new Map<string, Histogram>();
  for (const { name, kind, help, labels = {} } of metricDefinitions) {
    const options = { name, help, labelNames: Object.keys(labels) };
    if (kind === "gauge") gauges.set(name, new Gauge({ ...options, registers: [] }));
    if (kind === "counter") counters.set(name, new Counter({ ...options, registers: [registry] }));
    if (kind === "histogram") {
      histograms.set(name, new Histogram({ ...options, buckets: stepBuckets, registers: [registry] }));
    }
  }
  /** By worker: its series, each with how to remove it. */
  const series = new Map<string, Map<string, () => void>>();
  return {
    set(name, value, labels = {}) {
      const gauge = found(gauges, name);
      if (registry.getSingleMetric(name) === undefined) registry.registerMetric(gauge);
      gauge.set(labels, value);
      const { worker } = labels;
      if (worker === undefined) return;
      const own = series.get(worker) ?? new Map<string, () => void>();
      series.set(
        worker,
        own.set(`${name} ${JSON.stringify(labels)}`, () => gauge.remove(labels)),
      );
    },
    add: (name, value, labels = {}) => found(counters, name).inc(labels, value),
    observe: (name, value, labels = {}) => found(histograms, name).observe(labels, value),
    forget(worker) {
      series.get(worker)?.forEach((remove) => remove());
      series.delete(worker);
    },
  };
}

function found<T>(metrics: ReadonlyMap<string, T>, name: MetricName): T {
  const metric = metrics.get(name);
  assert(metric !== undefined, `${name} is a metric of another kind`);
  return metric;
}

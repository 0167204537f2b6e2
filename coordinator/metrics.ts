// The run as Prometheus metrics: names, help, units. The only file that imports prom-client. Serving is metrics-server.ts.
// Names follow https://prometheus.io/docs/practices/naming/: base units, `_total` for counters, few labels.

import { collectDefaultMetrics, Counter, Gauge, Histogram, Registry } from "prom-client";
import type { StepRecord, ValidationRecord } from "../common/records.ts";

export { serveMetrics } from "./metrics-server.ts";

export interface Metrics {
  /** For the Content-Type header of `text`. */
  readonly contentType: string;
  /** The exposition format of all metrics. */
  text(): Promise<string>;
  observeStep(record: StepRecord): void;
  observeValidation(record: ValidationRecord): void;
  setWorldSize(workers: number): void;
  setGeneration(generation: number): void;
}

/** From milliseconds to ten minutes. */
const stepBuckets = [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300, 600];

/** Metrics of one run, in a registry of their own. */
export function createMetrics(): Metrics {
  const registry = new Registry();
  const registers = [registry];
  collectDefaultMetrics({ register: registry });
  const gauge = (name: string, help: string): Gauge => new Gauge({ name, help, registers });
  const counter = (name: string, help: string): Counter => new Counter({ name, help, registers });

  const trainLoss = gauge("ringtune_train_loss", "Mean cross entropy of the last committed step, in nats per token.");
  const validationLoss = gauge(
    "ringtune_validation_loss",
    "Mean cross entropy of the last validation, in nats per token.",
  );
  const perplexity = gauge("ringtune_validation_perplexity", "Exponential of the validation loss.");
  const rate = gauge("ringtune_learning_rate", "Learning rate of the last committed step.");
  const norm = gauge(
    "ringtune_gradient_norm",
    "Global L2 norm of the last committed step's gradient, before clipping.",
  );
  const step = gauge("ringtune_step", "Number of the last committed optimizer step, over all processes of the run.");
  const epoch = gauge("ringtune_epoch", "Passes over the training data, fractions included.");
  const tokens = counter("ringtune_tokens_processed_total", "Unmasked target tokens of committed steps.");
  const samples = counter("ringtune_samples_processed_total", "Sequences of committed steps.");
  const steps = counter("ringtune_steps_committed_total", "Optimizer steps committed by this process.");
  const seconds = new Histogram({
    name: "ringtune_step_seconds",
    help: "Seconds of a committed step by phase, on the slowest worker; phase total is from the last step's end to this one's.",
    labelNames: ["phase"] as const,
    buckets: stepBuckets,
    registers,
  });
  const worldSize = gauge("ringtune_world_size", "Workers that compute the current step.");
  const generation = gauge("ringtune_generation", "Generation of the membership; grows with every change.");
  const sent = counter(
    "ringtune_all_reduce_bytes_total",
    "Payload bytes that all workers sent in gradient all-reduces.",
  );
  const bandwidth = gauge(
    "ringtune_all_reduce_bus_bandwidth_bytes_per_second",
    "Bus bandwidth of the last step's all-reduce: gradient bytes / seconds * 2(n-1)/n; 0 with one worker.",
  );

  return {
    contentType: registry.contentType,
    text: () => registry.metrics(),
    observeStep(record) {
      trainLoss.set(record.loss);
      rate.set(record.learningRate);
      norm.set(record.gradientNorm);
      step.set(record.step);
      epoch.set(record.epoch);
      tokens.inc(record.tokens);
      samples.inc(record.samples);
      steps.inc();
      seconds.observe({ phase: "data" }, record.seconds.data);
      seconds.observe({ phase: "compute" }, record.seconds.compute);
      seconds.observe({ phase: "all_reduce" }, record.seconds.allReduce);
      seconds.observe({ phase: "commit" }, record.seconds.commit);
      seconds.observe({ phase: "total" }, record.seconds.total);
      worldSize.set(record.worldSize);
      generation.set(record.generation);
      sent.inc(record.allReduceBytes);
      bandwidth.set(record.busBandwidth);
    },
    observeValidation(record) {
      validationLoss.set(record.loss);
      perplexity.set(record.perplexity);
    },
    setWorldSize: (workers) => worldSize.set(workers),
    setGeneration: (number) => generation.set(number),
  };
}

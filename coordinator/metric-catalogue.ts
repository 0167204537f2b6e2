// Every metric of a run: name, kind, unit, labels, meaning. metrics.ts registers them from here, and docs/metrics.md is
// written from here, so neither can know one that the other does not. Nothing here observes anything.
// Names follow https://prometheus.io/docs/practices/naming/: base units, `_total` for counters, few labels.

interface MetricDefinition<Name extends string = string> {
  readonly name: Name;
  readonly kind: "counter" | "gauge" | "histogram";
  /** What one is of. */
  readonly unit: string;
  /** A sentence. */
  readonly help: string;
  /** What the label's values are, by label. */
  readonly labels?: Readonly<Record<string, string>>;
  /** Where there is no sample in the beginning: when there is one. */
  readonly when?: string;
  /** The question that it helps to answer. */
  readonly question: Question;
}

export type Question = keyof typeof questions;

/** Headings of the reference, in its order. */
export const questions = {
  learning: "Is it learning?",
  speed: "Is it fast, and what is slow?",
  cluster: "Who takes part, and what failed?",
  progress: "Will it finish, and what is safe?",
} as const;

const phases = {
  phase:
    "`data` (waiting for the shard), `compute` (forward and backward), `all_reduce`, `commit` (from the last worker's reduction until the weights are updated everywhere), `total`",
};
const worker = "the worker's name";

export const metricCatalogue = [
  {
    name: "ringtune_train_loss",
    kind: "gauge",
    unit: "nats per target",
    question: "learning",
    help: "Mean cross entropy of the last committed step, in nats per target.",
    when: "after the first step",
  },
  {
    name: "ringtune_validation_loss",
    kind: "gauge",
    unit: "nats per target",
    question: "learning",
    help: "Mean cross entropy of the last validation, in nats per target.",
    when: "after the first validation",
  },
  {
    name: "ringtune_validation_perplexity",
    kind: "gauge",
    unit: "",
    question: "learning",
    help: "Exponential of the validation loss.",
    when: "after the first validation",
  },
  {
    name: "ringtune_validation_metric",
    kind: "gauge",
    unit: "",
    question: "learning",
    labels: { metric: "`accuracy`, `f1`, `f1_macro`, `f1_micro`, `precision`, `recall`" },
    help: "Metric of the last validation, from 0 to 1, of a task with labels.",
    when: "after the first validation of such a task",
  },
  {
    name: "ringtune_learning_rate",
    kind: "gauge",
    unit: "",
    question: "learning",
    help: "Learning rate of the last committed step.",
    when: "after the first step",
  },
  {
    name: "ringtune_gradient_norm",
    kind: "gauge",
    unit: "",
    question: "learning",
    help: "Global L2 norm of the last committed step's gradient, before clipping.",
    when: "after the first step",
  },
  {
    name: "ringtune_steps_committed_total",
    kind: "counter",
    unit: "steps",
    question: "speed",
    help: "Optimizer steps committed by this process.",
  },
  {
    name: "ringtune_tokens_processed_total",
    kind: "counter",
    unit: "tokens",
    question: "speed",
    help: "Unmasked targets of committed steps.",
  },
  {
    name: "ringtune_samples_processed_total",
    kind: "counter",
    unit: "samples",
    question: "speed",
    help: "Samples of committed steps.",
  },
  {
    name: "ringtune_ledger_samples",
    kind: "gauge",
    unit: "samples",
    question: "cluster",
    help: "What became of the samples since the run's first step, over all its processes; duplicated and lost are 0, always.",
    labels: {
      state:
        "`leased` (planned for a worker), `committed`, `requeued` (given back because a generation ended), `duplicated`, `lost`",
    },
    when: "after the first step",
  },
  {
    name: "ringtune_step_seconds",
    kind: "histogram",
    unit: "seconds",
    question: "speed",
    labels: phases,
    help: "Seconds of a committed step by phase, on the slowest worker; phase total is from the last step's end to this one's.",
    when: "after the first step",
  },
  {
    name: "ringtune_worker_phase_seconds",
    kind: "gauge",
    unit: "seconds",
    question: "speed",
    labels: { worker, phase: "`data`, `compute`, `all_reduce`" },
    help: "Seconds of a worker's last reduced step by phase. The slowest in compute is the straggler: the others wait for it in all_reduce.",
    when: "after the worker's first step, as long as it takes part",
  },
  {
    name: "ringtune_worker_tokens_per_second",
    kind: "gauge",
    unit: "tokens per second",
    question: "speed",
    labels: { worker },
    help: "Unmasked targets of a worker's last shard over the seconds that it computed.",
    when: "after the worker's first step, as long as it takes part",
  },
  {
    name: "ringtune_worker_arrival_lag_seconds",
    kind: "gauge",
    unit: "seconds",
    question: "speed",
    labels: { worker },
    help: "Seconds after the first worker at which this one comes to the gradient all-reduce, smoothed over about five steps; the others wait so long for the largest.",
    when: "after the worker's third step in a generation, as long as it takes part",
  },
  {
    name: "ringtune_worker_rows_per_second",
    kind: "gauge",
    unit: "sequences per second",
    question: "speed",
    labels: { worker },
    help: "Sequences a second of a worker's forward and backward, smoothed: by these cluster.balance speed divides the batches.",
    when: "after the worker's third step, as long as it takes part",
  },
  {
    name: "ringtune_all_reduce_bytes_total",
    kind: "counter",
    unit: "bytes",
    question: "speed",
    help: "Payload bytes that all workers sent in gradient all-reduces.",
  },
  {
    name: "ringtune_all_reduce_bytes_between_hosts_total",
    kind: "counter",
    unit: "bytes",
    question: "speed",
    help: "Those of ringtune_all_reduce_bytes_total that left a host: 2(h-1) times the bytes of the gradients with h hosts, however many workers they have; 0 within one host.",
  },
  {
    name: "ringtune_all_reduce_bus_bandwidth_bytes_per_second",
    kind: "gauge",
    unit: "bytes per second",
    question: "speed",
    help: "Bus bandwidth of the last step's all-reduce as nccl-tests defines it: gradient bytes / seconds * 2(n-1)/n; 0 with one worker.",
    when: "after the first step",
  },
  {
    name: "ringtune_world_size",
    kind: "gauge",
    unit: "workers",
    question: "cluster",
    help: "Workers that compute the current step.",
  },
  {
    name: "ringtune_world_size_target",
    kind: "gauge",
    unit: "workers",
    question: "cluster",
    help: "Workers that the run was asked to have.",
  },
  {
    name: "ringtune_generation",
    kind: "gauge",
    unit: "",
    question: "cluster",
    help: "Generation of the membership; grows with every change.",
  },
  {
    name: "ringtune_workers_joined_total",
    kind: "counter",
    unit: "workers",
    question: "cluster",
    help: "Workers that the coordinator has taken in.",
  },
  {
    name: "ringtune_workers_lost_total",
    kind: "counter",
    unit: "workers",
    question: "cluster",
    help: "Workers whose session ended before the run did.",
  },
  {
    name: "ringtune_workers_refused_total",
    kind: "counter",
    unit: "sessions",
    question: "cluster",
    help: "Sessions that were refused: a wrong token, another protocol, no join.",
  },
  {
    name: "ringtune_refusals_total",
    kind: "counter",
    unit: "connections, messages, requests",
    question: "cluster",
    labels: {
      port: "`workers`, `metrics`",
      reason:
        "at the workers' port `silent` (nobody joined on a connection in time), `crowded` (too many waited to join, and it came first), `full` (as many connections as there may be), `unreadable` (a message that is too large, or none of ours), `unread` (a worker that does not read what it is sent); at that of the metrics `full`, `rate` (too many requests a second), `password` (none, or a wrong one), `unread`",
    },
    help: "Connections that were closed, and messages and requests that were refused, before anybody looked at what they wanted.",
  },
  {
    name: "ringtune_recovery_seconds",
    kind: "histogram",
    unit: "seconds",
    question: "cluster",
    help: "Seconds from the loss of a worker that took part, as the coordinator heard of it, until the others committed the next step.",
  },
  {
    name: "ringtune_worker_last_heard_timestamp_seconds",
    kind: "gauge",
    unit: "seconds since 1970",
    question: "cluster",
    labels: { worker },
    help: "When the last message of a worker arrived, in seconds since 1970.",
    when: "as long as the worker is connected",
  },
  {
    name: "ringtune_worker_info",
    kind: "gauge",
    unit: "",
    question: "cluster",
    labels: {
      worker,
      host: "name of its host",
      device: "what it computes on",
      gpu_uuid:
        "of its NVIDIA GPU, as the DCGM exporter's label `UUID` has it; empty where there is none, or it is not known",
    },
    help: "Always 1; its labels say where a worker computes, and join the figures of its GPU.",
    when: "as long as the worker takes part",
  },
  {
    name: "ringtune_step",
    kind: "gauge",
    unit: "steps",
    question: "progress",
    help: "Number of the last committed optimizer step, over all processes of the run.",
  },
  {
    name: "ringtune_steps_planned",
    kind: "gauge",
    unit: "steps",
    question: "progress",
    help: "Optimizer steps of the whole run, if it isn't stopped early.",
  },
  {
    name: "ringtune_epoch",
    kind: "gauge",
    unit: "epochs",
    question: "progress",
    help: "Passes over the training data, fractions included.",
  },
  {
    name: "ringtune_last_step_timestamp_seconds",
    kind: "gauge",
    unit: "seconds since 1970",
    question: "progress",
    help: "When the last step was committed, in seconds since 1970; the start of the run before the first.",
  },
  {
    name: "ringtune_checkpoint_step",
    kind: "gauge",
    unit: "steps",
    question: "progress",
    help: "Step of the newest checkpoint, from which the run can go on.",
    when: "after the first checkpoint",
  },
  {
    name: "ringtune_checkpoint_timestamp_seconds",
    kind: "gauge",
    unit: "seconds since 1970",
    question: "progress",
    help: "When the newest checkpoint was published, in seconds since 1970.",
    when: "after the first checkpoint of this process",
  },
  {
    name: "ringtune_checkpoint_bytes",
    kind: "gauge",
    unit: "bytes",
    question: "progress",
    help: "Size of the newest checkpoint on disk.",
    when: "after the first checkpoint of this process",
  },
  {
    name: "ringtune_checkpoint_part_seconds",
    kind: "histogram",
    unit: "seconds",
    question: "speed",
    labels: {
      phase:
        "`waited` (training stood still until the checkpoint before was written) and `copied` (training stood still), `written` (beside training)",
    },
    help: "Seconds that a worker took for its part of a checkpoint, by phase.",
    when: "after the first checkpoint",
  },
  {
    name: "ringtune_checkpoint_failures_total",
    kind: "counter",
    unit: "checkpoints",
    question: "progress",
    help: "Checkpoints that could not be written, tries of the same one included; training went on.",
  },
  {
    name: "ringtune_records_waiting",
    kind: "gauge",
    unit: "records",
    question: "progress",
    help: "Records of steps and validations that metrics.jsonl could not take yet; they are written when it can.",
  },
  {
    name: "ringtune_run_directory_free_bytes",
    kind: "gauge",
    unit: "bytes",
    question: "progress",
    help: "Bytes that are free where the run directory is.",
  },
  {
    name: "ringtune_run_info",
    kind: "gauge",
    unit: "",
    question: "progress",
    labels: { run: "name of the run directory", version: "of Ringtune" },
    help: "Always 1; its labels say what is running.",
  },
] as const satisfies readonly MetricDefinition<`ringtune_${string}`>[];

export type MetricName = (typeof metricCatalogue)[number]["name"];

/** All metrics, without what TypeScript knows of each. */
export const metricDefinitions: readonly MetricDefinition<MetricName>[] = metricCatalogue;

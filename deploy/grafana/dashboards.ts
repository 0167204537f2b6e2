// What the dashboards show: rows of panels, each a question with its queries. `make dashboards` writes them as Grafana's
// JSON; how a panel looks is panels.ts. A test runs every query against a real Prometheus and a real run.

export interface PanelDefinition {
  readonly kind: "stat" | "time";
  readonly title: string;
  readonly description: string;
  /** Of Grafana's, such as "s" or "Bps"; "" for a plain number. */
  readonly unit: string;
  /** Legend -> PromQL. */
  readonly queries: Readonly<Record<string, string>>;
  /** Of the 24 columns; a stat has 4, a series 8. */
  readonly span?: number;
  readonly stacked?: boolean;
  readonly logarithmic?: boolean;
  /** A stat is red from here on. */
  readonly redFrom?: number;
  /** When there is nothing to show, in a run without trouble. */
  readonly conditional?: string;
}

export interface RowDefinition {
  readonly title: string;
  readonly panels: readonly PanelDefinition[];
}

export interface DashboardDefinition {
  /** Also the file's name. */
  readonly uid: string;
  readonly title: string;
  readonly description: string;
  readonly rows: readonly RowDefinition[];
}

/** Selects the run of the dashboard: `run` is a label of one metric, and joins the others by their target. */
const ofRun = (expression: string): string => `(${expression}) and on (job, instance) ringtune_run_info{run="$run"}`;
const metric = (name: string): string => ofRun(name);

const stepsPerSecond = "rate(ringtune_steps_committed_total[$__rate_interval])";
const meanSeconds = (phase: string): string =>
  `sum by (job, instance, phase) (rate(ringtune_step_seconds_sum{phase=~"${phase}"}[$__rate_interval])) / sum by (job, instance, phase) (rate(ringtune_step_seconds_count{phase=~"${phase}"}[$__rate_interval]))`;

const training: DashboardDefinition = {
  uid: "ringtune-training",
  title: "Ringtune / Training",
  description: "Is it learning, is it fast, will it finish.",
  rows: [
    {
      title: "Now",
      panels: [
        {
          kind: "stat",
          title: "Step",
          description: "The last committed optimizer step.",
          unit: "none",
          queries: { step: metric("ringtune_step") },
        },
        {
          kind: "stat",
          title: "Of the run",
          description: "Committed steps as a share of the planned ones.",
          unit: "percentunit",
          queries: { done: ofRun("ringtune_step / ringtune_steps_planned") },
        },
        {
          kind: "stat",
          title: "Time left",
          description: "Steps left over the present rate. Early stopping may end the run before.",
          unit: "s",
          queries: { left: ofRun(`(ringtune_steps_planned - ringtune_step) / (${stepsPerSecond} > 0)`) },
        },
        {
          kind: "stat",
          title: "Training loss",
          description: "Mean cross entropy of the last committed step, in nats per target.",
          unit: "none",
          queries: { loss: metric("ringtune_train_loss") },
        },
        {
          kind: "stat",
          title: "Validation perplexity",
          description: "Exponential of the last validation's loss.",
          unit: "none",
          queries: { perplexity: metric("ringtune_validation_perplexity") },
        },
        {
          kind: "stat",
          title: "Since the last step",
          description: "Seconds since the last step was committed. Red from five minutes on.",
          unit: "s",
          queries: { since: ofRun("time() - ringtune_last_step_timestamp_seconds") },
          redFrom: 300,
        },
      ],
    },
    {
      title: "Convergence",
      panels: [
        {
          kind: "time",
          title: "Loss",
          description: "Mean cross entropy in nats per target.",
          unit: "none",
          span: 12,
          queries: { training: metric("ringtune_train_loss"), validation: metric("ringtune_validation_loss") },
        },
        {
          kind: "time",
          title: "Validation perplexity",
          description: "Exponential of the validation loss.",
          unit: "none",
          span: 12,
          logarithmic: true,
          queries: { perplexity: metric("ringtune_validation_perplexity") },
        },
        {
          kind: "time",
          title: "Accuracy, precision, recall and F1",
          description: "Of the last validation, for models that classify or tag.",
          unit: "percentunit",
          span: 24,
          queries: { "{{metric}}": metric("ringtune_validation_metric") },
          conditional: "only tasks with labels have them",
        },
        {
          kind: "time",
          title: "Learning rate",
          description: "Of the last committed step.",
          unit: "sci",
          span: 12,
          queries: { "learning rate": metric("ringtune_learning_rate") },
        },
        {
          kind: "time",
          title: "Gradient norm",
          description: "Global L2 norm before clipping. A steady rise comes before a loss that diverges.",
          unit: "none",
          span: 12,
          logarithmic: true,
          queries: { norm: metric("ringtune_gradient_norm") },
        },
      ],
    },
    {
      title: "Speed",
      panels: [
        {
          kind: "time",
          title: "Tokens per second",
          description: "Unmasked targets of committed steps.",
          unit: "none",
          queries: { tokens: ofRun("rate(ringtune_tokens_processed_total[$__rate_interval])") },
        },
        {
          kind: "time",
          title: "Samples per second",
          description: "Samples of committed steps.",
          unit: "none",
          queries: { samples: ofRun("rate(ringtune_samples_processed_total[$__rate_interval])") },
        },
        {
          kind: "time",
          title: "Epochs",
          description: "Passes over the training data.",
          unit: "none",
          queries: { epochs: metric("ringtune_epoch") },
        },
      ],
    },
  ],
};

const cluster: DashboardDefinition = {
  uid: "ringtune-cluster",
  title: "Ringtune / Cluster",
  description: "Who takes part, what is slow, what failed.",
  rows: [
    {
      title: "Now",
      panels: [
        {
          kind: "stat",
          title: "Workers",
          description: "Workers that compute the current step.",
          unit: "none",
          queries: { workers: metric("ringtune_world_size") },
        },
        {
          kind: "stat",
          title: "Missing workers",
          description: "Workers that the run was asked to have and has not.",
          unit: "none",
          queries: { missing: ofRun("ringtune_world_size_target - ringtune_world_size") },
          redFrom: 1,
        },
        {
          kind: "stat",
          title: "Generation",
          description: "Grows with every change of the membership.",
          unit: "none",
          queries: { generation: metric("ringtune_generation") },
        },
        {
          kind: "stat",
          title: "Workers lost",
          description: "Sessions that ended before the run did.",
          unit: "none",
          queries: { lost: metric("ringtune_workers_lost_total") },
          redFrom: 1,
        },
        {
          kind: "stat",
          title: "Refused",
          description: "Sessions with a wrong token, another protocol, or no join.",
          unit: "none",
          queries: { refused: metric("ringtune_workers_refused_total") },
          redFrom: 1,
        },
        {
          kind: "stat",
          title: "Silence of the quietest",
          description: "Seconds since the worker that was silent longest was heard.",
          unit: "s",
          queries: { silence: ofRun("max by (job, instance) (time() - ringtune_worker_last_heard_timestamp_seconds)") },
        },
      ],
    },
    {
      title: "Where a step's time goes",
      panels: [
        {
          kind: "time",
          title: "Step by phase",
          description: "Mean seconds of the slowest worker in each phase; they need not add up to the total.",
          unit: "s",
          span: 12,
          stacked: true,
          queries: { "{{phase}}": ofRun(meanSeconds("data|compute|all_reduce|commit")) },
        },
        {
          kind: "time",
          title: "Step time",
          description: "From one committed step to the next: median and 99th percentile.",
          unit: "s",
          span: 12,
          queries: Object.fromEntries(
            [0.5, 0.99].map((q) => [
              `p${q * 100}`,
              ofRun(
                `histogram_quantile(${q}, sum by (job, instance, le) (rate(ringtune_step_seconds_bucket{phase="total"}[$__rate_interval])))`,
              ),
            ]),
          ),
        },
        {
          kind: "time",
          title: "Computing, by worker",
          description: "Seconds of forward and backward. Who is above the others is the straggler.",
          unit: "s",
          span: 12,
          queries: {
            "{{worker}}": `ringtune_worker_phase_seconds{phase="compute"} and on (job, instance) ringtune_run_info{run="$run"}`,
          },
        },
        {
          kind: "time",
          title: "Late to the all-reduce, by worker",
          description: "Seconds after the first to come. The others wait so long for the last.",
          unit: "s",
          span: 12,
          queries: {
            "{{worker}}": `ringtune_worker_arrival_lag_seconds and on (job, instance) ringtune_run_info{run="$run"}`,
          },
        },
        {
          kind: "time",
          title: "Sequences a second, by worker",
          description: "Forward and backward. By these cluster.balance speed divides the batches.",
          unit: "none",
          span: 12,
          queries: {
            "{{worker}}": `ringtune_worker_rows_per_second and on (job, instance) ringtune_run_info{run="$run"}`,
          },
        },
        {
          kind: "time",
          title: "Waiting in the all-reduce, by worker",
          description: "Who waits least is the one that the others wait for.",
          unit: "s",
          span: 12,
          queries: {
            "{{worker}}": `ringtune_worker_phase_seconds{phase="all_reduce"} and on (job, instance) ringtune_run_info{run="$run"}`,
          },
        },
      ],
    },
    {
      title: "Network and membership",
      panels: [
        {
          kind: "time",
          title: "Bus bandwidth of the all-reduce",
          description: "As nccl-tests defines it; 0 with one worker.",
          unit: "Bps",
          queries: { bandwidth: metric("ringtune_all_reduce_bus_bandwidth_bytes_per_second") },
        },
        {
          kind: "time",
          title: "All-reduce bytes",
          description: "Payload that all workers send, per second.",
          unit: "Bps",
          queries: { bytes: ofRun("rate(ringtune_all_reduce_bytes_total[$__rate_interval])") },
        },
        {
          kind: "time",
          title: "Workers",
          description: "Present and asked for.",
          unit: "none",
          queries: { present: metric("ringtune_world_size"), "asked for": metric("ringtune_world_size_target") },
        },
        {
          kind: "time",
          title: "Tokens per second, by worker",
          description: "Of the seconds that it computes.",
          unit: "none",
          span: 12,
          queries: { "{{worker}}": metric("ringtune_worker_tokens_per_second") },
        },
        {
          kind: "time",
          title: "Workers come and go",
          description: "Since the coordinator began: taken in, and lost before the run was over.",
          unit: "none",
          span: 6,
          queries: {
            joined: metric("ringtune_workers_joined_total"),
            lost: metric("ringtune_workers_lost_total"),
          },
        },
        {
          kind: "time",
          title: "Samples given back",
          description:
            "Planned for a worker whose generation ended before the commit; duplicated and lost are 0, always.",
          unit: "none",
          span: 6,
          queries: {
            requeued: ofRun('ringtune_ledger_samples{state="requeued"}'),
            duplicated: ofRun('ringtune_ledger_samples{state="duplicated"}'),
            lost: ofRun('ringtune_ledger_samples{state="lost"}'),
          },
        },
      ],
    },
    {
      title: "Devices",
      panels: [
        {
          kind: "time",
          title: "Workers by device",
          description: "What the workers compute on. Several kinds in one run: the slowest decides.",
          unit: "none",
          span: 6,
          queries: { "{{device}}": ofRun("count by (job, instance, device) (ringtune_worker_info)") },
        },
        ...(
          [
            [
              "GPU utilisation",
              "How much of the time the GPU of a worker computes.",
              "percentunit",
              "utilization:ratio",
            ],
            ["GPU memory", "In use on the GPU of a worker, by whomever.", "bytes", "memory_used:bytes"],
            ["GPU power", "Watts that the GPU of a worker takes.", "watt", "power:watts"],
          ] as const
        ).map(([title, description, unit, series]) => ({
          kind: "time" as const,
          title: `${title}, by worker`,
          description,
          unit,
          span: 6,
          queries: { "{{worker}}": ofRun(`worker:gpu_${series}`) },
          conditional: "with NVIDIA's DCGM exporter, whose figures rules.yml joins by the GPU's UUID",
        })),
      ],
    },
    {
      title: "The coordinator and its disk",
      panels: [
        {
          kind: "time",
          title: "Free on the run's disk",
          description: "Beside the size of a checkpoint.",
          unit: "bytes",
          span: 6,
          queries: {
            free: metric("ringtune_run_directory_free_bytes"),
            checkpoint: metric("ringtune_checkpoint_bytes"),
          },
        },
        {
          kind: "time",
          title: "Age of the newest checkpoint",
          description: "What a death of everything would cost.",
          unit: "s",
          span: 6,
          queries: { age: ofRun("time() - ringtune_checkpoint_timestamp_seconds") },
        },
        {
          kind: "time",
          title: "Saving a part of a checkpoint",
          description:
            "Mean seconds: training stands still while a worker waits and copies; it writes beside training.",
          unit: "s",
          span: 6,
          queries: {
            "{{phase}}": ofRun(
              "sum by (job, instance, phase) (rate(ringtune_checkpoint_part_seconds_sum[$__rate_interval])) / sum by (job, instance, phase) (rate(ringtune_checkpoint_part_seconds_count[$__rate_interval]))",
            ),
          },
        },
        {
          kind: "time",
          title: "What the disk did not take",
          description: "Checkpoints that could not be written in the last hour, and records that wait.",
          unit: "none",
          span: 6,
          queries: {
            checkpoints: ofRun("increase(ringtune_checkpoint_failures_total[1h])"),
            records: ofRun("ringtune_records_waiting"),
          },
        },
        {
          kind: "time",
          title: "Coordinator's processor",
          description: "Cores that it uses.",
          unit: "none",
          queries: { cores: ofRun("rate(process_cpu_seconds_total[$__rate_interval])") },
        },
        {
          kind: "time",
          title: "Coordinator's memory",
          description: "Resident bytes.",
          unit: "bytes",
          queries: { resident: metric("process_resident_memory_bytes") },
        },
        {
          kind: "time",
          title: "Coordinator's event loop",
          description: "The 99th percentile of its lag. Above the heartbeat it begins to matter.",
          unit: "s",
          queries: { lag: metric("nodejs_eventloop_lag_p99_seconds") },
        },
      ],
    },
  ],
};

export const dashboards: readonly DashboardDefinition[] = [training, cluster];

/** Every query of every panel, with where it is. */
export function allQueries(): { readonly place: string; readonly query: string; readonly conditional?: string }[] {
  return dashboards.flatMap(({ title, rows }) =>
    rows.flatMap(({ panels }) =>
      panels.flatMap((panel) =>
        Object.entries(panel.queries).map(([legend, query]) => ({
          place: `${title}: ${panel.title} (${legend})`,
          query,
          ...(panel.conditional === undefined ? {} : { conditional: panel.conditional }),
        })),
      ),
    ),
  );
}

// The Cluster dashboard: who takes part, where the time of a step goes, what failed, and how the coordinator does.

import { ofRun, type DashboardDefinition } from "./definition.ts";

const meanSeconds = (phase: string): string =>
  `sum by (job, instance, phase) (rate(ringtune_step_seconds_sum{phase=~"${phase}"}[$__rate_interval])) / sum by (job, instance, phase) (rate(ringtune_step_seconds_count{phase=~"${phase}"}[$__rate_interval]))`;

export const cluster: DashboardDefinition = {
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
          queries: { workers: ofRun("ringtune_world_size") },
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
          queries: { generation: ofRun("ringtune_generation") },
        },
        {
          kind: "stat",
          title: "Workers lost",
          description: "Sessions that ended before the run did.",
          unit: "none",
          queries: { lost: ofRun("ringtune_workers_lost_total") },
          redFrom: 1,
        },
        {
          kind: "stat",
          title: "Refused",
          description: "Sessions with a wrong token, another protocol, or no join.",
          unit: "none",
          queries: { refused: ofRun("ringtune_workers_refused_total") },
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
          queries: { "{{worker}}": ofRun('ringtune_worker_phase_seconds{phase="compute"}') },
        },
        {
          kind: "time",
          title: "Late to the all-reduce, by worker",
          description: "Seconds after the first to come. The others wait so long for the last.",
          unit: "s",
          span: 12,
          queries: { "{{worker}}": ofRun("ringtune_worker_arrival_lag_seconds") },
        },
        {
          kind: "time",
          title: "Sequences a second, by worker",
          description: "Forward and backward. By these cluster.balance speed divides the batches.",
          unit: "none",
          span: 12,
          queries: { "{{worker}}": ofRun("ringtune_worker_rows_per_second") },
        },
        {
          kind: "time",
          title: "Waiting in the all-reduce, by worker",
          description: "Who waits least is the one that the others wait for.",
          unit: "s",
          span: 12,
          queries: { "{{worker}}": ofRun('ringtune_worker_phase_seconds{phase="all_reduce"}') },
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
          queries: { bandwidth: ofRun("ringtune_all_reduce_bus_bandwidth_bytes_per_second") },
        },
        {
          kind: "time",
          title: "All-reduce bytes",
          description: "Payload that all workers send, per second, and the part of it that leaves a host.",
          unit: "Bps",
          queries: {
            "in all": ofRun("rate(ringtune_all_reduce_bytes_total[$__rate_interval])"),
            "between hosts": ofRun("rate(ringtune_all_reduce_bytes_between_hosts_total[$__rate_interval])"),
          },
        },
        {
          kind: "time",
          title: "Workers",
          description: "Present and asked for.",
          unit: "none",
          queries: { present: ofRun("ringtune_world_size"), "asked for": ofRun("ringtune_world_size_target") },
        },
        {
          kind: "time",
          title: "Tokens per second, by worker",
          description: "Of the seconds that it computes.",
          unit: "none",
          span: 6,
          queries: { "{{worker}}": ofRun("ringtune_worker_tokens_per_second") },
        },
        {
          kind: "time",
          title: "Workers come and go",
          description: "Since the coordinator began: taken in, and lost before the run was over.",
          unit: "none",
          span: 6,
          queries: {
            joined: ofRun("ringtune_workers_joined_total"),
            lost: ofRun("ringtune_workers_lost_total"),
          },
        },
        {
          kind: "time",
          title: "Recovery",
          description: "Mean seconds from the loss of a worker to the next step that the others committed.",
          unit: "s",
          span: 6,
          queries: { mean: ofRun("ringtune_recovery_seconds_sum / (ringtune_recovery_seconds_count > 0)") },
          conditional: "after a worker was lost",
        },
        {
          kind: "time",
          title: "Turned away",
          description: "Connections, messages and scrapes in the last five minutes that nobody looked at, and why.",
          unit: "none",
          span: 6,
          queries: { "{{port}}: {{reason}}": ofRun("increase(ringtune_refusals_total[5m])") },
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
            free: ofRun("ringtune_run_directory_free_bytes"),
            checkpoint: ofRun("ringtune_checkpoint_bytes"),
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
          queries: { resident: ofRun("process_resident_memory_bytes") },
        },
        {
          kind: "time",
          title: "Coordinator's event loop",
          description: "The 99th percentile of its lag. Above the heartbeat it begins to matter.",
          unit: "s",
          queries: { lag: ofRun("nodejs_eventloop_lag_p99_seconds") },
        },
      ],
    },
  ],
};

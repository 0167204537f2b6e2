// The Data ledger dashboard: is data flowing, and is every sample of an epoch trained on once, whatever happens to the workers.

import { ofRun, type DashboardDefinition } from "./definition.ts";
import { samplesPerSecond } from "./training.ts";

const samples = (state: string): string => ofRun(`ringtune_ledger_samples{state="${state}"}`);

export const ledger: DashboardDefinition = {
  uid: "ringtune-ledger",
  title: "Ringtune / Data ledger",
  description: "Is data flowing, and does every sample count once.",
  rows: [
    {
      title: "Now",
      panels: [
        {
          kind: "stat",
          title: "Committed",
          description: "Samples in committed steps, over all processes of the run.",
          unit: "none",
          queries: { committed: samples("committed") },
        },
        {
          kind: "stat",
          title: "On their way",
          description: "Planned for a worker, and neither committed nor given back.",
          unit: "none",
          queries: {
            leased: ofRun(
              ["leased", "committed", "requeued"]
                .map((state) => `sum by (job, instance) (ringtune_ledger_samples{state="${state}"})`)
                .join(" - "),
            ),
          },
        },
        {
          kind: "stat",
          title: "Given back",
          description: "Planned for a worker whose generation ended before the commit; others were given them.",
          unit: "none",
          queries: { requeued: samples("requeued") },
        },
        {
          kind: "stat",
          title: "Duplicated",
          description: "Samples that would have counted twice. Always 0: a step that has one is not committed.",
          unit: "none",
          queries: { duplicated: samples("duplicated") },
          redFrom: 1,
        },
        {
          kind: "stat",
          title: "Lost",
          description: "Samples that would have counted in no step. Always 0: a step that misses one is not committed.",
          unit: "none",
          queries: { lost: samples("lost") },
          redFrom: 1,
        },
        {
          kind: "stat",
          title: "Epochs",
          description: "Passes over the training data, fractions included.",
          unit: "none",
          queries: { epochs: ofRun("ringtune_epoch") },
        },
      ],
    },
    {
      title: "Flow",
      panels: [
        samplesPerSecond,
        {
          kind: "time",
          title: "Samples by what became of them",
          description: "Since the run's first step. Leased ones are committed or given back within a step or two.",
          unit: "none",
          queries: { "{{state}}": ofRun('ringtune_ledger_samples{state=~"leased|committed|requeued"}') },
        },
        {
          kind: "time",
          title: "Waiting for data, by worker",
          description:
            "Seconds that a worker waited for its shard. Above 0 the coordinator is too slow in giving them out.",
          unit: "s",
          queries: { "{{worker}}": ofRun('ringtune_worker_phase_seconds{phase="data"}') },
        },
      ],
    },
  ],
};

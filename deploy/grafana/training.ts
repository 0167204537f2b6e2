// The Training dashboard: is it learning, is it fast, will it finish.

import { ofRun, type DashboardDefinition, type PanelDefinition } from "./definition.ts";

const stepsPerSecond = "rate(ringtune_steps_committed_total[$__rate_interval])";

/** On the Data ledger, too. */
export const samplesPerSecond: PanelDefinition = {
  kind: "time",
  title: "Samples per second",
  description: "Samples of committed steps.",
  unit: "none",
  queries: { samples: ofRun("rate(ringtune_samples_processed_total[$__rate_interval])") },
};

export const training: DashboardDefinition = {
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
          queries: { step: ofRun("ringtune_step") },
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
          queries: { loss: ofRun("ringtune_train_loss") },
        },
        {
          kind: "stat",
          title: "Validation perplexity",
          description: "Exponential of the last validation's loss.",
          unit: "none",
          queries: { perplexity: ofRun("ringtune_validation_perplexity") },
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
          queries: { training: ofRun("ringtune_train_loss"), validation: ofRun("ringtune_validation_loss") },
        },
        {
          kind: "time",
          title: "Validation perplexity",
          description: "Exponential of the validation loss.",
          unit: "none",
          span: 12,
          logarithmic: true,
          queries: { perplexity: ofRun("ringtune_validation_perplexity") },
        },
        {
          kind: "time",
          title: "Accuracy, precision, recall and F1",
          description: "Of the last validation, for models that classify or tag.",
          unit: "percentunit",
          span: 24,
          queries: { "{{metric}}": ofRun("ringtune_validation_metric") },
          conditional: "only tasks with labels have them",
        },
        {
          kind: "time",
          title: "Learning rate",
          description: "Of the last committed step.",
          unit: "sci",
          span: 12,
          queries: { "learning rate": ofRun("ringtune_learning_rate") },
        },
        {
          kind: "time",
          title: "Gradient norm",
          description: "Global L2 norm before clipping. A steady rise comes before a loss that diverges.",
          unit: "none",
          span: 12,
          logarithmic: true,
          queries: { norm: ofRun("ringtune_gradient_norm") },
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
        samplesPerSecond,
        {
          kind: "time",
          title: "Epochs",
          description: "Passes over the training data.",
          unit: "none",
          queries: { epochs: ofRun("ringtune_epoch") },
        },
      ],
    },
  ],
};

// The configuration of a run: one YAML file, validated here. The documentation of a field is its `describe`;
// `ringtune config schema` prints it as JSON Schema. Combinations of fields are checked in rules.ts.

import { z } from "zod";
import { deviceNames, numberedDevice, precisions } from "../devices.ts";
import { stoppingMetrics } from "../evaluation/stopping-metrics.ts";
import { sizeNames } from "./sizes.ts";

const upTo = (maximum: number) => z.int().min(1).max(maximum);

/** Seconds that a timer can hold. */
const oneWeek = 604_800;

const model = z
  .strictObject({
    from: z
      .string()
      .min(1)
      .optional()
      .describe(
        "Model to start from: a Hugging Face directory (config.json, model.safetensors, tokenizer.json), or a name on the Hub, which is downloaded, such as openai-community/gpt2; see docs/models.md. Leave out to train from scratch.",
      ),
    revision: z
      .string()
      .min(1)
      .optional()
      .describe(
        "Branch, tag or commit of model.from on the Hub; also written behind the name: acme/model@v2. Left out: main.",
      ),
    architecture: z
      .enum(["gpt2", "llama", "bert"])
      .optional()
      .describe(
        "What to train from scratch: gpt2, llama (rotary positions, SwiGLU, RMSNorm; the same sizes), or bert, an encoder (the same sizes). Left out: what the task needs, gpt2 to write text and bert to classify, tag or fill in. A directory of model.from has its own.",
      ),
    size: z
      .enum(sizeNames)
      .optional()
      .describe(
        "Named size for training from scratch, with so many parameters: nano (0.8 M), micro (4 M), mini (11 M), small (31 M), gpt2 (124 M with GPT-2's own vocabulary). Left out: micro. The numbers below override it.",
      ),
    layers: upTo(1000).optional().describe("Transformer blocks (n_layer)."),
    hidden: upTo(65_536).optional().describe("Width of the residual stream (n_embd)."),
    heads: upTo(1024).optional().describe("Attention heads (n_head); must divide hidden."),
    positions: upTo(1_048_576)
      .optional()
      .describe("Longest sequence the model can see (n_positions). The sizes have 256, 256, 512, 1024 and 1024."),
  })
  .describe("What is trained.");

const labels = z
  .array(z.string().min(1))
  .min(1)
  .optional()
  .describe(
    "Names of the labels in the order of their indices. Left out: those of the model's head if it has any, else those in the data, sorted.",
  );

const task = z
  .discriminatedUnion("kind", [
    z.strictObject({
      kind: z
        .literal("language-modelling")
        .optional()
        .default("language-modelling")
        .describe(
          "What is learned: the next token of texts; the answers of instruction data; a class of each text; a tag of each word; the masked tokens of texts. See docs/data.md.",
        ),
    }),
    z.strictObject({ kind: z.literal("instruction") }),
    z.strictObject({
      kind: z.literal("classification"),
      labels,
      multi_label: z
        .boolean()
        .default(false)
        .describe("Whether a text may have any number of labels, each learned by itself, instead of exactly one."),
      positive_label: z
        .string()
        .min(1)
        .optional()
        .describe("Of two labels, the one that precision, recall and F1 are of. Left out: the last."),
    }),
    z.strictObject({ kind: z.literal("tagging"), labels }),
    z.strictObject({
      kind: z.literal("masked-lm"),
      mask_probability: z
        .number()
        .gt(0)
        .lt(1)
        .default(0.15)
        .describe(
          "Share of the tokens to fill in: 80% of them are masked, 10% replaced by others, 10% left as they are.",
        ),
    }),
  ])
  .describe("What is learned from the data, which decides the head of the model.");

const tokenizer = z
  .strictObject({
    from: z
      .string()
      .min(1)
      .optional()
      .describe(
        "tokenizer.json file, a directory that holds one, or a name on the Hub. Leave out to train a byte-level BPE on the training documents (or to use the one of model.from).",
      ),
    vocab_size: z
      .int()
      .min(257)
      .max(1_000_000)
      .default(4096)
      .describe(
        "Size of the vocabulary to train: 256 bytes, the special tokens (end of text; four for an encoder), and merges.",
      ),
  })
  .describe("How text becomes tokens.");

const data = z
  .strictObject({
    source: z
      .union([z.string().min(1), z.array(z.string().min(1)).min(1)])
      .default("sotu")
      .describe(
        '"sotu" (State of the Union addresses, 1790 to 2021), "spam-assassin" (6,046 e-mails of 2002 with the labels ham and spam), or paths of .txt, .md or .jsonl files or folders of them. A text file is one document; a JSONL line is one.',
      ),
    years: z
      .array(z.int().min(1790).max(2021))
      .length(2)
      .optional()
      .describe("First and last year of the addresses of sotu, such as [1790, 1900]. Left out: all."),
    text_field: z.string().min(1).default("text").describe("Field of a JSONL line that holds the text."),
    pair_field: z
      .string()
      .min(1)
      .optional()
      .describe("Classification: field of a JSONL line with a second text, to classify pairs of texts."),
    label_field: z
      .string()
      .min(1)
      .default("label")
      .describe(
        "Classification: field of a JSONL line that holds the label, by its name or its index; with task.multi_label a list of them.",
      ),
    tokens_field: z
      .string()
      .min(1)
      .default("tokens")
      .describe("Tagging: field of a JSONL line with the list of words."),
    tags_field: z
      .string()
      .min(1)
      .default("tags")
      .describe("Tagging: field of a JSONL line with the list of their tags, by name or index."),
    format: z
      .enum(["auto", "alpaca", "messages", "completion"])
      .default("auto")
      .describe(
        "Instruction data: alpaca (instruction, input, output), messages (a conversation, with the chat template of the tokenizer) or completion (prompt, completion). auto goes by the fields of the first line.",
      ),
    near_duplicates: z
      .enum(["keep", "group", "drop"])
      .optional()
      .describe(
        "Documents that say the same in nearly the same words: keep takes no notice of them, group never puts them on both sides of the split, drop keeps the first of each group only. Left out: group for classification, keep otherwise. See docs/near-duplicates.md.",
      ),
    near_duplicate_threshold: z
      .number()
      .min(0.3)
      .max(1)
      .default(0.5)
      .describe(
        "Share of common runs of three words (Jaccard similarity) from which two documents are near duplicates. 1: the words are the same.",
      ),
    validation_fraction: z
      .number()
      .min(0)
      .lt(1)
      .default(0.05)
      .describe("Share of the documents kept out of training, drawn with the seed."),
    cache: z.string().min(1).default(".cache/ringtune").describe("Folder for tokenised data, keyed by content."),
  })
  .describe("The documents.");

const lora = z
  .strictObject({
    rank: upTo(65_536).default(8).describe("Columns of A and rows of B (r)."),
    alpha: z
      .number()
      .positive()
      .default(16)
      .describe("The adapters' share: their product is multiplied with alpha / rank (lora_alpha)."),
    target_modules: z
      .union([z.literal("all-linear"), z.array(z.string().min(1)).min(1)])
      .default("all-linear")
      .describe(
        'Linear layers that get an adapter: the ends of their names, such as [c_attn] or [q_proj, v_proj], or "all-linear" for all in the blocks.',
      ),
    rslora: z.boolean().default(false).describe("Multiply with alpha / sqrt(rank) (Kalajdzievski, 2023) instead."),
    dropout: z
      .number()
      .min(0)
      .lt(1)
      .default(0)
      .describe("Share of what goes into the adapters that is dropped in training (lora_dropout)."),
    bias: z.literal("none").default("none").describe("Biases to train with the adapters; there is only none."),
  })
  .describe(
    "Train thin matrices beside the linear layers instead of the model (LoRA; Hu et al., 2021), which is saved as an adapter of PEFT. With this section, also an empty one ({}), nothing else is trained but the head of a classifier.",
  );

const weightDecay = (preset: number) =>
  z
    .number()
    .min(0)
    .default(preset)
    .describe(
      "Decay of parameters with two or more dimensions: adamw decouples it, the others add it times the weight to the gradient.",
    );
const momentum = z
  .number()
  .min(0)
  .lt(1)
  .default(0)
  .describe("Decay of the running sum of updates; 0 keeps none and needs no memory for it.");
const epsilon = z.number().positive().default(1e-8).describe("Added to the root of the mean square.");
const moments = {
  beta1: z.number().min(0).lt(1).default(0.9).describe("Decay of the mean of the gradients."),
  beta2: z.number().min(0).lt(1).default(0.999).describe("Decay of the mean of the squared gradients."),
  epsilon,
};

const optimizer = z
  .discriminatedUnion("name", [
    z.strictObject({
      name: z.literal("adamw").optional().default("adamw").describe("The algorithm, as in torch.optim."),
      ...moments,
      weight_decay: weightDecay(0.01),
    }),
    z.strictObject({ name: z.literal("adam"), ...moments, weight_decay: weightDecay(0) }),
    z.strictObject({
      name: z.literal("sgd"),
      momentum,
      nesterov: z.boolean().default(false).describe("Look ahead along the momentum, which must be above 0."),
      weight_decay: weightDecay(0),
    }),
    z.strictObject({
      name: z.literal("rmsprop"),
      alpha: z.number().min(0).lt(1).default(0.99).describe("Decay of the mean of the squared gradients."),
      epsilon,
      momentum,
      weight_decay: weightDecay(0),
    }),
  ])
  .describe("The update rule. Each has torch.optim's defaults, so weight decay is off but for adamw.");

const earlyStopping = z
  .strictObject({
    patience: upTo(1_000_000).default(3).describe("Validations without an improvement after which the run ends."),
    min_delta: z.number().min(0).default(0).describe("What counts as an improvement: more than this."),
    metric: z
      .enum(stoppingMetrics)
      .default("loss")
      .describe(
        "Of the validation. loss, and perplexity of language models, are better when they are lower; accuracy, f1, f1_macro, f1_micro, precision and recall, of tasks with labels, when they are higher. See docs/evaluation.md.",
      ),
  })
  .describe(
    "End the run when its validations no longer become better. With this section, also an empty one ({}), every validation has a checkpoint, and the run's best points to the best of them.",
  );

const train = z
  .strictObject({
    steps: upTo(1_000_000_000).optional().describe("Optimizer steps. Give this or epochs."),
    epochs: z
      .number()
      .positive()
      .max(1_000_000)
      .optional()
      .describe("Passes over the training data. Give this or steps."),
    global_batch: upTo(1_000_000)
      .default(16)
      .describe("Sequences per optimizer step, over all workers. The maths does not depend on the number of workers."),
    microbatch: upTo(1_000_000)
      .default(8)
      .describe("Sequences that a worker computes at once; more are accumulated. Must divide global_batch."),
    sequence_length: z
      .int()
      .min(2)
      .max(1_048_576)
      .default(128)
      .describe("Tokens per sequence; at most the model's positions."),
    optimizer: optimizer.prefault({}),
    learning_rate: z.number().positive().default(1e-3).describe("Peak learning rate."),
    schedule: z
      .enum(["constant", "linear", "cosine"])
      .default("cosine")
      .describe("Decay after the warmup, down to min_learning_rate at the last step."),
    min_learning_rate: z.number().min(0).default(0).describe("Where the decay ends; at most learning_rate."),
    warmup_steps: z
      .int()
      .min(0)
      .default(0)
      .describe(
        "Steps of linear warmup. The first step has learning rate 0 when there is any, as in Hugging Face's schedules.",
      ),
    warmup_ratio: z
      .number()
      .min(0)
      .lt(1)
      .optional()
      .describe("Warmup as a share of all steps, rounded up, instead of warmup_steps."),
    freeze: z
      .array(z.string().min(1))
      .default([])
      .describe(
        'Parameters that stay as they are, by patterns over their names: ["transformer.wte.*", "transformer.h.[0-3].*"].',
      ),
    bit_identical: z
      .boolean()
      .default(false)
      .describe(
        "Losses and weights that are equal to the last bit at any number of workers and after any faults: batches are divided in whole microbatches, and gradients are summed as integers of 64 bits. Costs twice the bytes of the all-reduce; needs cluster.device cpu (or wasm) and a number of cluster.threads. See docs/reproducibility.md.",
      ),
    recompute: z
      .enum(["none", "blocks"])
      .default("none")
      .describe(
        "blocks keeps only the input of every block and computes its activations again in the backward pass: less memory for up to a fifth more time. See docs/precision.md.",
      ),
    precision: z
      .enum(precisions)
      .default("fp32")
      .describe(
        "What matrix products compute in; weights, gradients, the optimizer and validation are always fp32. fp16 scales the loss; bf16 is for cuda and tensorrt. For GPUs: a CPU becomes slower. See docs/precision.md.",
      ),
    dropout: z
      .number()
      .min(0)
      .lt(1)
      .optional()
      .describe(
        "Share of activations and attention probabilities that is dropped in training, wherever the architecture has dropout. Left out: the rates of model.from's config.json, or none from scratch. See docs/regularisation.md.",
      ),
    label_smoothing: z
      .number()
      .min(0)
      .lt(1)
      .default(0)
      .describe(
        "Share of every target's probability that is spread evenly over the vocabulary or the labels, in the training loss (Szegedy et al., 2016); validation is without.",
      ),
    clip: z.number().positive().nullable().default(1).describe("Largest global gradient norm; null does not clip."),
    eval_every: z
      .int()
      .min(0)
      .default(100)
      .describe("Steps between validations; 0 validates only before the first step and after the last."),
    early_stopping: earlyStopping.optional(),
    eval_sequences: upTo(1_000_000_000)
      .default(256)
      .describe("At most so many validation sequences, evenly spaced over the validation set."),
    seed: z.int().min(0).default(0).describe("Seed of the split, the order of samples and the initial weights."),
  })
  .describe("The optimisation.");

const store = z
  .discriminatedUnion("kind", [
    z.strictObject({
      kind: z
        .literal("embedded")
        .optional()
        .default("embedded")
        .describe(
          "embedded: LevelDB in the run directory, for one coordinator. etcd: for several, one of which leads while the others stand by; they need the same configuration, checkpoint.name and run directory (shared storage).",
        ),
    }),
    z.strictObject({
      kind: z.literal("etcd"),
      endpoints: z
        .array(z.string().min(1))
        .min(1)
        .describe('Members of etcd: ["https://etcd-0:2379", ...]; http only on loopback.'),
      prefix: z
        .string()
        .max(200)
        .regex(/^[A-Za-z0-9][A-Za-z0-9._-]*$/)
        .default("ringtune")
        .describe("First part of every key; the second is checkpoint.name, so that runs of other names do not meet."),
      lease_s: upTo(60)
        .default(2)
        .describe(
          "Seconds after which a coordinator that does not answer is replaced (one whose process has ended is replaced at once). etcd makes it at least one and a half times its election timeout, 2 s unless configured.",
        ),
      timeout_s: z
        .number()
        .min(1)
        .max(oneWeek)
        .default(60)
        .describe("Longest that training waits for etcd when it does not answer, before the run stops with the cause."),
      certs: z
        .string()
        .min(1)
        .optional()
        .describe(
          "Folder with ca.pem, the authority of etcd's certificates, and client.pem and client-key.pem if etcd asks for them. Left out: the system's authorities.",
        ),
      username: z.string().min(1).optional().describe("User of etcd. Left out: none."),
      password_file: z.string().min(1).optional().describe("File with the password of username, and nothing else."),
    }),
  ])
  .describe("What the coordinator must not forget, and where it keeps it; see docs/elasticity.md.");

const cluster = z
  .strictObject({
    workers: z
      .union([z.literal("auto"), upTo(4096)])
      .default("auto")
      .describe('Worker processes that take part; "auto" is one for each NVIDIA GPU that the device can use, or one.'),
    balance: z
      .enum(["equal", "speed"])
      .default("equal")
      .describe(
        "How a batch is divided: equal gives every worker as many sequences, speed as many as it is fast, measured while it trains. For workers that are not alike; the batch and the maths stay the same.",
      ),
    threads: z
      .union([z.literal("auto"), upTo(1024)])
      .default("auto")
      .describe('Compute threads per worker; "auto" shares the cores of the host among its workers.'),
    engine: z
      .enum(["onnx", "tfjs"])
      .default("onnx")
      .describe("onnx: compiled graph in ONNX Runtime. tfjs: eager TensorFlow.js."),
    device: z
      .union([
        z.enum(deviceNames),
        z
          .string()
          .regex(numberedDevice)
          .meta({ examples: ["cuda:1"] }),
      ])
      .default("auto")
      .describe(
        "What computes. onnx: cpu, webgpu, cuda, tensorrt, coreml, dml; cuda:1 is the second GPU. tfjs: gpu (tfjs-node-gpu), node (tfjs-node), wasm, cpu. auto takes the best that is there and says why; see docs/devices.md.",
      ),
    host: z
      .string()
      .min(1)
      .default("127.0.0.1")
      .describe(
        "Address that the coordinator listens on: loopback, or, for workers on other hosts, an address of this host or 0.0.0.0 for all. Beyond loopback cluster.certs is needed; see docs/security.md.",
      ),
    port: z.int().min(0).max(65535).default(0).describe("gRPC port of the coordinator; 0 takes a free one."),
    certs: z
      .string()
      .min(1)
      .optional()
      .describe(
        "Certificate folder, as `ringtune certs init` makes it. With it, coordinator and workers speak mutual TLS, who shows no certificate of its authority gets no connection, and gradients are encrypted with CURVE wherever they leave a host's memory.",
      ),
    insecure: z
      .boolean()
      .default(false)
      .describe(
        "Listen beyond loopback without certificates, and with certificates leave the ring unencrypted, which is faster. Everybody on the network can then read what travels. Workers must say --insecure too.",
      ),
    join_token_ttl_s: z
      .number()
      .positive()
      .max(10 * 365 * 86_400)
      .default(30 * 86_400)
      .describe(
        "Seconds for which the join token of a run lets workers in, those that come back after a lost connection too; 30 days. `ringtune token` makes others.",
      ),
    join_timeout_s: z.number().positive().max(oneWeek).default(60).describe("Seconds to wait for all workers to join."),
    recover_s: z
      .number()
      .positive()
      .max(oneWeek)
      .default(300)
      .describe(
        "Seconds that a worker looks for a coordinator that is gone, and that a coordinator waits for workers that hold the weights to come back. Then the run goes on from its newest checkpoint. Not with `ringtune train`, whose workers end with it.",
      ),
    heartbeat_s: z.number().min(0.05).max(3600).default(1).describe("Seconds between the heartbeats of a worker."),
    verify_every: z
      .int()
      .min(0)
      .default(100)
      .describe(
        "Steps between comparisons of the workers' weights and optimizer state by digest; a worker that differs is named and gets those of another. 0 never compares.",
      ),
    restarts: z
      .int()
      .min(0)
      .max(100)
      .default(5)
      .describe(
        "How often `ringtune train` starts a worker that crashed again, within ten minutes, after 1, 2, 4 ... seconds; it joins the others with their weights. 0: never.",
      ),
    step_timeout_s: z
      .number()
      .positive()
      .max(oneWeek)
      .default(600)
      .describe("Longest a step may take on a worker before the run stops with its name."),
    store: store.prefault({}),
  })
  .describe("Processes and addresses.");

const checkpoint = z
  .strictObject({
    dir: z.string().min(1).default("runs").describe("Folder of run directories."),
    name: z
      .string()
      .max(200)
      .regex(/^[A-Za-z0-9][A-Za-z0-9._-]*$/)
      .optional()
      .describe(
        "Name of the run directory: letters, digits, dots, dashes and underscores. Left out: one with the date.",
      ),
    every: z.int().min(0).default(200).describe("Steps between checkpoints; 0 writes one at the end only."),
    keep: upTo(1_000_000).default(2).describe("Newest checkpoints to keep."),
    writers: z
      .enum(["host", "all", "one"])
      .default("host")
      .describe(
        "Who writes a checkpoint, each a part of about the same size: the workers on the host of rank 0, all (on every host the run directory is the same, shared storage), or rank 0 alone.",
      ),
    retry_s: z
      .number()
      .min(0)
      .max(oneWeek)
      .default(600)
      .describe(
        "A checkpoint that can't be written is given up and said, and training goes on; but the last one, and with train.early_stopping those of validations, are tried again for so many seconds.",
      ),
  })
  .describe("Where results go.");

const metrics = z
  .strictObject({
    enabled: z.boolean().default(true).describe("Whether to serve /metrics at all."),
    host: z
      .string()
      .min(1)
      .default("127.0.0.1")
      .describe("Address that serves /metrics. Beyond loopback metrics.certs and metrics.basic_auth are needed."),
    port: z.int().min(0).max(65535).default(9464).describe("Port that serves /metrics; 0 takes a free one."),
    certs: z
      .string()
      .min(1)
      .optional()
      .describe(
        "Certificate folder, as `ringtune certs init` makes it, to serve /metrics over TLS with the coordinator's certificate.",
      ),
    basic_auth: z
      .strictObject({
        username: z
          .string()
          .regex(/^[^:]+$/)
          .default("prometheus")
          .describe("User name, without a colon."),
        password_file: z
          .string()
          .min(1)
          .describe("File with the password, and nothing else; Prometheus's password_file can be the same."),
      })
      .optional()
      .describe("Who may read /metrics, with HTTP's basic authentication. Left out: everybody who reaches the port."),
    insecure: z.boolean().default(false).describe("Serve /metrics beyond loopback without TLS or without a password."),
  })
  .describe("Prometheus.");

export const configSchema = z.strictObject({
  task: task.prefault({}),
  model: model.prefault({}),
  tokenizer: tokenizer.prefault({}),
  data: data.prefault({}),
  train: train.prefault({}),
  lora: lora.optional(),
  cluster: cluster.prefault({}),
  checkpoint: checkpoint.prefault({}),
  metrics: metrics.prefault({}),
});

/** A validated configuration with every default filled in. */
export type Config = z.infer<typeof configSchema>;

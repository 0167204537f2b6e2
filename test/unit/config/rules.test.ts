import { describe, expect, test } from "vitest";
import { checkRules } from "../../../common/config/rules.ts";
import { isLoopback } from "../../../common/loopback.ts";
import { configSchema } from "../../../common/config/schema.ts";

function problems(config: Record<string, Record<string, unknown>>): string[] {
  const train = { steps: 10, ...config["train"] };
  return checkRules(configSchema.parse({ ...config, train })).map(({ path, message }) => `${path}: ${message}`);
}

const classification = (settings: object) => ({
  task: { kind: "classification", ...settings },
  data: { source: "a.jsonl" },
});

describe("combinations that can't work", () => {
  test.each<[Record<string, Record<string, unknown>>, string]>([
    [
      { data: { source: "a.jsonl", years: [1790, 1900] } },
      "data.years: [1790,1900] chooses among the addresses of sotu, which data.source does not name",
    ],
    [{ data: { years: [1900, 1790] } }, "data.years: [1900,1790] ends before it begins; write [1790, 1900]"],
    [
      { train: { bit_identical: true }, cluster: { device: "cpu" } },
      "train.bit_identical: needs a number of threads, because results differ in their last bits with it, and cluster.threads is auto, which follows the workers of a host; set it to 1, say",
    ],
    [
      { train: { bit_identical: true }, cluster: { threads: 2 } },
      "train.bit_identical: needs a device that adds in a fixed order, and cluster.device auto may take a GPU; set it to cpu",
    ],
    [
      { train: { bit_identical: true }, cluster: { threads: 2, device: "webgpu" } },
      "train.bit_identical: needs a device that adds in a fixed order, and cluster.device webgpu is no device of which that is known; set it to cpu",
    ],
    [
      {
        train: { bit_identical: true, global_batch: 200_000, sequence_length: 128 },
        cluster: { threads: 2, device: "cpu" },
      },
      "train.bit_identical: sums the losses of at most 16777216 tokens exactly, and train.global_batch 200000 times train.sequence_length 128 are 25600000; use at most 131072",
    ],
    [
      { train: { bit_identical: true, compression: { method: "topk" } }, cluster: { threads: 1, device: "cpu" } },
      "train.compression.method: topk rounds what each worker sends, so results depend on their number, and train.bit_identical is true; choose one of them",
    ],
    [
      { train: { bit_identical: true, local_steps: 8 }, cluster: { threads: 1, device: "cpu" } },
      "train.local_steps: 8 lets every worker go its own way, so results depend on their number, and train.bit_identical is true",
    ],
    [
      { train: { local_steps: 8, zero: 1 } },
      "train.local_steps: 8 lets every worker change weights of its own, and train.zero 1 has them once for all workers of a host; choose one of them",
    ],
    [
      { train: { local_steps: 8, precision: "fp16" }, cluster: { device: "cuda" } },
      "train.local_steps: 8 local steps have no common gradient by which train.precision fp16 could choose its loss scale; use bf16 or fp32",
    ],
    [
      { train: { local_steps: 500, global_batch: 256, microbatch: 8, sequence_length: 256 } },
      "train.local_steps: 500 steps of train.global_batch 256 times train.sequence_length 256 are 262144000 bytes of tokens, and 67108864 fit into a plan; use at most 128, or a smaller batch",
    ],
    [
      { train: { compression: { method: "int8" }, global_batch: 100, microbatch: 1 }, cluster: { workers: 65 } },
      "train.compression.method: int8 shares its 254 steps among cluster.workers 65, and 64 are the most; use bf16, topk or powersgd",
    ],
    [
      { train: { compression: { method: "bf16" }, overlap: "on" } },
      "train.overlap: on reduces gradients while others are computed, and train.compression.method bf16 begins with all of them; use auto",
    ],
    [{ model: { revision: "v2" } }, 'model.revision: "v2" is of no use without model.from'],
    [
      { task: { kind: "instruction" }, model: { architecture: "bert" }, data: { source: "a.jsonl" } },
      "model.architecture: bert has no causal-lm head, which task.kind instruction needs (it has masked-lm, sequence-classification, token-classification); use gpt2 or llama",
    ],
    [
      { task: { kind: "classification" }, model: { architecture: "llama" }, data: { source: "a.jsonl" } },
      "model.architecture: llama has no sequence-classification head, which task.kind classification needs (it has causal-lm); use bert",
    ],
    [
      { task: { kind: "tagging" } },
      'data.source: "sotu" is plain text, and task.kind tagging learns from JSONL lines; name .jsonl files',
    ],
    [
      { data: { pair_field: "b" } },
      'data.pair_field: "b" is for pairs of texts to classify, and task.kind is language-',
    ],
    [{ data: { format: "alpaca" } }, "data.format: alpaca is a form of instruction data, and task.kind is language-"],
    [
      { task: { kind: "masked-lm" }, tokenizer: { vocab_size: 259 } },
      "tokenizer.vocab_size: 259 is too small for an encoder: 256 bytes and the tokens [PAD], [CLS], [SEP] and [MASK] make 260",
    ],
    [classification({ labels: ["a", "b", "a"] }), 'task.labels: "a" is given twice, as labels 0 and 2; remove one'],
    [classification({ labels: ["a"] }), "task.labels: 1 label leaves nothing to learn; give 2 or more"],
    [
      classification({ labels: ["a", "b"], positive_label: "c" }),
      'task.positive_label: "c" is none of the 2 labels of task.labels (a, b)',
    ],
    [
      classification({ multi_label: true, positive_label: "c" }),
      'task.positive_label: "c" is of no use with task.multi_label, where each label is positive or not; remove it',
    ],
    [
      { ...classification({ multi_label: true }), train: { label_smoothing: 0.1 } },
      "train.label_smoothing: 0.1 spreads one answer over all labels, and with task.multi_label each label is yes or no; set it to 0",
    ],
    [
      { train: { precision: "bf16" }, cluster: { device: "webgpu" } },
      "train.precision: bf16 can't be computed by device webgpu: cuda and tensorrt have bfloat16; use one of those, or fp32",
    ],
    [
      { train: { precision: "fp16" }, cluster: { engine: "tfjs" } },
      "train.precision: fp16 can't be computed by engine tfjs, which has float32 alone; use engine: onnx, or fp32",
    ],
    [
      { train: { precision: "bf16" }, cluster: { engine: "tfjs", device: "cuda" } },
      "cluster.device: cuda is a device of engine onnx",
    ],
    [{ train: { steps: undefined } }, "train.steps: missing, and so is train.epochs"],
    [{ train: { epochs: 2 } }, "train.epochs: 2 is given together with train.steps 10"],
    [
      { train: { warmup_steps: 10 } },
      "train.warmup_steps: 10 leaves no step after the warmup: train.steps is 10; use at most 9",
    ],
    [
      { train: { warmup_steps: 2, warmup_ratio: 0.1 } },
      "train.warmup_ratio: 0.1 is given together with train.warmup_steps 2; give only one of them",
    ],
    [{ lora: {} }, "lora: needs a model that has learned something, and model.from names none"],
    [
      { lora: {}, model: { from: "m" }, train: { freeze: ["a.*"] } },
      'train.freeze: ["a.*"] is of no use with lora, which trains the adapters alone; remove it',
    ],
    [
      { train: { eval_every: 0, early_stopping: {} } },
      "train.early_stopping: needs validations, and train.eval_every 0 has none between the steps",
    ],
    [
      { train: { early_stopping: {} }, data: { validation_fraction: 0 } },
      "train.early_stopping: needs validations, and data.validation_fraction 0 keeps no text for them",
    ],
    [
      { train: { optimizer: { name: "sgd", nesterov: true } } },
      "train.optimizer.nesterov: true needs momentum to look ahead along, and train.optimizer.momentum is 0",
    ],
    [
      { train: { global_batch: 12, microbatch: 5 } },
      "5 does not divide train.global_batch 12; the nearest divisors are 4 and 6",
    ],
    [{ train: { global_batch: 4, microbatch: 8 } }, "8 does not divide train.global_batch 4; the nearest divisor is 4"],
    [{ cluster: { workers: 17 } }, "cluster.workers: 17 workers can't share train.global_batch 16"],
    [{ train: { min_learning_rate: 0.01 } }, "train.min_learning_rate: 0.01 is above train.learning_rate 0.001"],
    [{ model: { from: "m", layers: 2 } }, 'model.layers: 2 can\'t be set together with model.from "m"'],
    [{ model: { from: "m", size: "nano" } }, 'model.size: "nano" can\'t be set together with model.from "m"'],
    [{ model: { hidden: 100 } }, "model.heads: 8 does not divide model.hidden 100; the nearest divisors are 5 and 10"],
    [
      { train: { sequence_length: 300 } },
      "train.sequence_length: 300 is longer than the 256 positions of the model; use at most 256",
    ],
    [{ model: { positions: 64 } }, "train.sequence_length: 128 is longer than the 64 positions"],
    [
      { model: { hidden: 8192, layers: 48 } },
      "48 layers of width 8192 make 38.7 billion parameters; the most is 2.1 billion",
    ],
    [{ cluster: { host: "0.0.0.0" } }, 'cluster.host: "0.0.0.0" is beyond loopback, where others would see'],
    [
      { cluster: { device: "gpu" } },
      "cluster.device: gpu is a device of engine tfjs; engine onnx has auto, cpu, webgpu, cuda, tensorrt, coreml, dml; use one of those, or engine: tfjs",
    ],
    [
      { cluster: { engine: "tfjs", device: "cuda:1" } },
      "cluster.device: cuda:1 is a device of engine onnx; engine tfjs has auto, gpu, node, wasm, cpu",
    ],
    [
      { cluster: { device: "webgpu:1" } },
      "cluster.device: webgpu:1 can't be chosen: ONNX Runtime takes the GPU that the graphics driver lists first",
    ],
    [{ cluster: { port: 9464 } }, "metrics.port: 9464 is cluster.port too"],
    [
      { cluster: { heartbeat_s: 5, step_timeout_s: 5 } },
      "cluster.heartbeat_s: 5 s is not below cluster.step_timeout_s 5 s",
    ],
  ])("%j", (config, expected) => {
    const found = problems(config);
    expect(found).toHaveLength(1);
    expect(found[0]).toContain(expected);
  });

  test.each([
    ["onnx", ["auto", "cpu", "webgpu", "webgpu:0", "cuda", "cuda:7", "tensorrt:1", "coreml", "dml"]],
    ["tfjs", ["auto", "gpu", "node", "wasm", "cpu"]],
  ])("engine %s takes its own devices", (engine, devices) => {
    for (const device of devices) expect(problems({ cluster: { engine, device } }), device).toEqual([]);
  });

  test.each([
    ["fp16", ["auto", "cpu", "webgpu", "cuda:1", "tensorrt", "coreml", "dml"]],
    ["bf16", ["auto", "cuda", "cuda:1", "tensorrt:0"]],
  ])("%s may be asked of what can have it", (precision, devices) => {
    for (const device of devices) {
      expect(problems({ train: { precision }, cluster: { device } }), device).toEqual([]);
    }
  });

  test.each(["tpu", "cuda:", "cuda:x", "cuda:01", "cuda:-1", "coreml:1", "CUDA", ""])("%j is no device", (device) => {
    const parsed = configSchema.safeParse({ train: { steps: 1 }, cluster: { device } });
    expect(parsed.success).toBe(false);
  });

  test("several are reported together", () => {
    expect(problems({ train: { epochs: 1, microbatch: 5 }, cluster: { host: "::", workers: 99 } })).toHaveLength(4);
  });
});

test("combinations at the edge of what works are accepted", () => {
  expect(
    problems({
      train: { warmup_steps: 9, sequence_length: 256, min_learning_rate: 0.001, global_batch: 6, microbatch: 6 },
      cluster: { workers: 6, host: "::1" },
      metrics: { enabled: false, host: "0.0.0.0" },
    }),
  ).toEqual([]);
  expect(problems({ model: { from: "m" }, train: { sequence_length: 5000 } })).toEqual([]);
  expect(problems(classification({ multi_label: true, labels: ["a"] }))).toEqual([]);
  expect(problems({ task: { kind: "masked-lm" }, tokenizer: { vocab_size: 260 } })).toEqual([]);
});

test("loopback is what only this host reaches", () => {
  expect(["127.0.0.1", "127.9.9.9", "::1", "localhost"].every(isLoopback)).toBe(true);
  expect(["0.0.0.0", "::", "10.0.0.1", "127.0.0.1.example.org", "localhost.example.org", ""].some(isLoopback)).toBe(
    false,
  );
});

test("a metric that the task does not have can't stop a run early, and those that it has are listed", () => {
  const problemsOf = (kind: string, metric: string): string[] => {
    const config = configSchema.parse({
      task: { kind },
      model: kind === "classification" ? { architecture: "bert" } : {},
      data: { source: "a.jsonl" },
      train: { steps: 10, early_stopping: { metric } },
    });
    return checkRules(config).map(({ path, message }) => `${path}: ${message}`);
  };
  expect(problemsOf("language-modelling", "f1")).toEqual([
    "train.early_stopping.metric: f1 is not a metric of task.kind language-modelling, which has loss and perplexity",
  ]);
  expect(problemsOf("classification", "perplexity")).toEqual([
    "train.early_stopping.metric: perplexity is not a metric of task.kind classification, which has loss, accuracy, f1, f1_macro, f1_micro, precision and recall",
  ]);
  expect(problemsOf("classification", "f1_macro")).toEqual([]);
});

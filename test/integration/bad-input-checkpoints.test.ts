import { cp, mkdir, readFile, rm, symlink, truncate, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { afterAll, beforeAll, beforeEach, describe, expect, onTestFinished, test } from "vitest";
import { start, temporaryFolder } from "../support/cli.ts";
import { fingerprint, refusal, trainEarlierRun, type EarlierRun } from "../support/refusal.ts";

let earlier: EarlierRun;
let untouched: Record<string, string>;
beforeAll(async () => {
  earlier = await trainEarlierRun();
  untouched = await fingerprint(earlier.run);
});
afterAll(async () => {
  try {
    expect(await fingerprint(earlier.run), "the earlier run").toEqual(untouched);
  } finally {
    await earlier.remove();
  }
});

const readLog = (run: string): Promise<string> => readFile(join(run, "log.jsonl"), "utf8").catch(() => "");

/** Resumes a damaged run, which is refused and left as it is. Returns the sentence. */
async function refusedResume(run: string, code = 1, ...args: string[]): Promise<string> {
  const before = await fingerprint(run);
  const log = await readLog(run);
  const sentence = await refusal(["train", "--resume", run, "--set", "train.steps=20", ...args], { code });
  expect(await fingerprint(run), "the run that was not resumed").toEqual(before);
  // The attempt may have added lines, and has taken none away.
  expect((await readLog(run)).startsWith(log)).toBe(true);
  return sentence;
}

async function flip(path: string, at?: string): Promise<void> {
  const bytes = await readFile(path);
  const offset = at === undefined ? Math.floor(bytes.length * 0.7) : bytes.indexOf(at) + at.length;
  bytes[offset]! ^= 0x01;
  await writeFile(path, bytes);
}

async function cut(path: string): Promise<void> {
  await truncate(path, (await readFile(path)).length - 40);
}

describe("a checkpoint that is damaged is named, with the one to fall back to", () => {
  const files = ["model.safetensors", "optimizer.safetensors", "config.json", "tokenizer.json"];

  test.each(files)("a flipped byte in %s", async (file) => {
    const run = await earlier.copy();
    await flip(join(run, "latest", file));
    const sentence = await refusedResume(run);
    expect(sentence).toContain(`step-00000010/${file} is corrupt: its SHA-256 is `);
    expect(sentence).toContain(
      `the checkpoint of step 5 is there too, resume from it after: ln -sfn checkpoints/step-00000005 ${run}/latest`,
    );
    const speech = await refusal(["generate", run], { speaker: "ringtune generate" });
    expect(speech).toContain(`${file} is corrupt: its SHA-256 is `);
  });

  test.each(files)("%s cut short", async (file) => {
    const run = await earlier.copy();
    await cut(join(run, "latest", file));
    const sentence = await refusedResume(run);
    expect(sentence).toMatch(/is truncated: it has \d+ bytes, \d+ were written; the checkpoint of step 5 is there too/);
    expect(sentence).toContain(`step-00000010/${file} is truncated`);
  });

  test("state.json with a flipped digit, cut short, or gone", async () => {
    const run = await earlier.copy();
    const state = join(run, "checkpoints/step-00000010/state.json");
    const text = await readFile(state, "utf8");

    await flip(state, '"model.safetensors": {\n      "sizeBytes": 1');
    expect(await refusedResume(run)).toMatch(/model\.safetensors is (truncated|corrupt): it has/);
    await writeFile(state, text);
    await flip(state, '"sha256": "');
    await refusedResume(run);
    await writeFile(state, text.replace(/"position": \d+/, '"position": 121'));
    expect(await refusedResume(run)).toMatch(/has consumed 121 samples, but 10 steps of 12 are 120/);
    await writeFile(state, text.replace(/"step": 10/, '"step": 11'));
    expect(await refusedResume(run)).toContain("state.json is of step 11, but its folder is of step 10");
    await writeFile(state, text);
    await cut(state);
    expect(await refusedResume(run)).toContain("state.json is not readable JSON; the checkpoint of step 5 is there");
    await rm(state);
    expect(await refusedResume(run)).toContain("state.json is missing: the checkpoint is not complete");
  });

  test("latest points to nothing, or is missing", async () => {
    const run = await earlier.copy();
    await rm(join(run, "latest"));
    expect(await refusedResume(run)).toMatch(
      /latest is missing; point it to one with: ln -sfn checkpoints\/step-0+10 /,
    );
    await symlink("checkpoints/step-00000099", join(run, "latest"));
    expect(await refusedResume(run)).toMatch(/step-00000099.*missing.*; the checkpoint of step 10 is there too/);
    expect(await refusal(["generate", run], { speaker: "ringtune generate" })).toContain(
      "without a complete checkpoint",
    );
  });

  test("the way out that it names is one", async () => {
    const run = await earlier.copy();
    await flip(join(run, "latest/optimizer.safetensors"));
    const [, target] = /ln -sfn (\S+) /.exec(await refusedResume(run))!;
    await rm(join(run, "latest"));
    await symlink(target!, join(run, "latest"));
    const again = await start(["train", "--resume", run]).finished;
    expect(again, again.stderr).toMatchObject({ code: 0 });
    expect(await readFile(join(run, "metrics.jsonl"), "utf8")).toMatch(/"step":10,/);
  });
});

describe("a run that can't be resumed", () => {
  test.each<[string, (run: string) => Promise<void>, RegExp]>([
    ["its tokenizer is damaged", (run) => cut(join(run, "tokenizer.json")), /tokenizer\.json: it is not JSON/],
    ["its tokenizer is gone", (run) => rm(join(run, "tokenizer.json")), /cannot read the run's tokenizer/],
    [
      "its configuration is damaged",
      (run) => writeFile(join(run, "ringtune.yaml"), "{"),
      /configuration of the run was/,
    ],
    [
      "its records are damaged",
      (run) => writeFile(join(run, "metrics.jsonl"), "?\n"),
      /metrics\.jsonl:1 is not a record/,
    ],
    ["its data digest is damaged", (run) => cut(join(run, "data.json")), /data\.json does not say which data the run/],
    ["it has no configuration", (run) => rm(join(run, "ringtune.yaml")), /is not a run: it has no ringtune\.yaml/],
  ])("because %s", async (_, damage, expected) => {
    const run = await earlier.copy();
    await damage(run);
    expect(await refusedResume(run)).toMatch(expected);
  });

  test("because there is none", async () => {
    expect(await refusal(["train", "--resume", join(earlier.folder, "nowhere")])).toMatch(
      /nowhere does not exist; name/,
    );
    expect(await refusal(["train", "--resume", earlier.config])).toMatch(/small\.yaml is a file, not a run/);
  });

  test("because the configuration would make another run of it", async () => {
    const run = await earlier.copy();
    expect(await refusedResume(run, 2, "--set", "train.seed=7")).toMatch(/train\.seed: 7 now, \d+ in the run/);
    expect(await refusedResume(run, 2, "--set", "train.steps=10")).toMatch(
      /has done 10 steps and the configuration asks for 10; raise train\.steps to go on/,
    );
    expect(await refusedResume(run, 2, "--workers", "13")).toMatch(/13 workers can't share train\.global_batch 12/);
  });

  test("because the data has changed", async () => {
    const run = await earlier.copy();
    const data = join(earlier.folder, "data.jsonl");
    const text = await readFile(data, "utf8");
    onTestFinished(() => writeFile(data, text));
    await writeFile(data, text.replace("boats", "goats"));
    expect(await refusedResume(run)).toMatch(
      /the data has changed since the run .* began: its tokens have digest \w{64} now, \w{64} then; put the old data back/,
    );
  });

  test("because another process is writing it, which is not disturbed", async () => {
    const run = await earlier.copy();
    const writer = start(["train", "--resume", run, "--set", "train.steps=1000000", "--set", "checkpoint.every=0"]);
    await writer.waitFor(/step +12\//);
    const sentence = await refusal(["train", "--resume", run, "--set", "train.steps=20"]);
    expect(sentence).toContain(`is being written by process ${writer.child.pid} since `);
    writer.child.kill("SIGINT");
    const result = await writer.finished;
    expect(result.code, result.stderr).toBe(130);
    expect(result.stderr).toMatch(
      /^ringtune: stopped by SIGINT after step \d+; go on with: ringtune train --resume .*\n$/,
    );
    expect(await readFile(join(run, "curve.svg"), "utf8")).toMatch(/<\/svg>\s*$/);
  });
});

describe("a model directory that does not fit", () => {
  let model: string;
  let config: string;
  const begin = (code = 1, ...args: string[]) =>
    refusal(["train", config, "--workers", "2", "--set", "checkpoint.name=from", ...args], { code });
  const rewrite = async (change: Record<string, unknown>): Promise<void> => {
    const path = join(model, "config.json");
    await writeFile(path, JSON.stringify({ ...(JSON.parse(await readFile(path, "utf8")) as object), ...change }));
  };

  beforeEach(async () => {
    const folder = await temporaryFolder();
    model = join(folder, "model");
    await mkdir(model);
    for (const file of ["config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json"]) {
      await cp(join(earlier.run, "latest", file), join(model, file));
    }
    config = join(folder, "from.yaml");
    const settings = JSON.parse(await readFile(earlier.config, "utf8")) as Record<string, unknown>;
    await writeFile(config, JSON.stringify({ ...settings, model: { from: model } }));
  });

  test("its positions are fewer than the sequence has tokens", async () => {
    expect(await begin(2, "--set", "train.sequence_length=64")).toMatch(
      /train\.sequence_length: 64 is longer than the 32 positions of the model of .*config\.json; use at most 32/,
    );
  });

  test.each<[string, () => Promise<unknown>, RegExp]>([
    [
      "it is not there",
      () => rm(model, { recursive: true }),
      /model\/config\.json: there is no such file; model\.from/,
    ],
    ["config.json is cut", () => cut(join(model, "config.json")), /config\.json is \d+ characters that are not JSON/],
    [
      "config.json is null",
      () => writeFile(join(model, "config.json"), "null"),
      /does not describe a model that can be trained: it holds null/,
    ],
    [
      "its architecture is another",
      () => rewrite({ model_type: "warpformer" }),
      /config\.json has model_type "warpformer"; supported are gpt2, llama/,
    ],
    [
      "it does not write text",
      () => rewrite({ model_type: "bert", architectures: ["BertForMaskedLM"] }),
      /is of model_type bert, which has no head causal-lm; it has masked-lm, sequence-classification, token-classification/,
    ],
    ["its heads do not divide", () => rewrite({ n_head: 3 }), /n_head 3 does not divide n_embd 32/],
    ["a size is missing", () => rewrite({ n_layer: undefined }), /n_layer is missing/],
    [
      "its weights are of another shape",
      () => rewrite({ n_embd: 48 }),
      /28 of another shape \(transformer\.wte\.weight is \[320, 32\], the config says \[320, 48\]/,
    ],
    ["a layer is missing", () => rewrite({ n_layer: 3 }), /12 missing \(transformer\.h\.2/],
    ["its weights are cut", () => cut(join(model, "model.safetensors")), /model\.safetensors .*(truncated|ends|bytes)/],
    [
      "its weights are missing",
      () => rm(join(model, "model.safetensors")),
      /model\.safetensors cannot be read: there is no such file/,
    ],
    ["its tokenizer is missing", () => rm(join(model, "tokenizer.json")), /holds no tokenizer\.json/],
    [
      "its tokenizer is larger",
      () => rewrite({ vocab_size: 300 }),
      /the tokenizer has 320 tokens, but the model of .* embeds 300/,
    ],
  ])("%s", async (_, damage, expected) => {
    await damage();
    expect(await begin()).toMatch(expected);
  });

  test("a weight is not a number: the tensor and the element are named, by one worker alone", async () => {
    const path = join(model, "model.safetensors");
    const bytes = await readFile(path);
    bytes.writeFloatLE(NaN, bytes.length - 4);
    await writeFile(path, bytes);
    expect(await begin()).toMatch(/^worker w\d \(rank 0, host .*\): .*model\.safetensors.*(NaN|not finite)/);
  });
});

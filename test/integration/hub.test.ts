// A model by its name on the Hub, on real processes: trained on, resumed and merged from the cache without network, and
// written out in half the bytes and in shards.

import { readdir, readFile, stat, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { expect, test } from "vitest";
import { finish, readSteps, readValidations, smallRun } from "../support/cli.ts";
import { repository, startHubServer, type HubServer } from "../support/hub-server.ts";

test("a model of the Hub is downloaded once, trained with an adapter that names it, resumed, merged and exported", async () => {
  const small = await smallRun({ steps: 4, eval_every: 0, warmup_steps: 1 });
  const env: NodeJS.ProcessEnv = { HF_HUB_CACHE: join(small.folder, "hub"), HF_HOME: small.folder };
  const succeed = async (...args: string[]): Promise<string> => {
    const result = await finish(args, { env });
    expect(result, result.stderr + result.stdout).toMatchObject({ code: 0 });
    return result.stdout + result.stderr;
  };
  await succeed("train", small.config, "--set", "checkpoint.name=base");
  const files: HubServer["files"] = {};
  const latest = join(small.folder, "runs/base/latest");
  for (const name of ["config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json"]) {
    files[name] = await readFile(join(latest, name));
  }
  const hub = await startHubServer(files);
  env["HF_ENDPOINT"] = hub.url;

  const config = join(small.folder, "lora.yaml");
  const given = JSON.parse(await readFile(small.config, "utf8")) as object;
  await writeFile(config, JSON.stringify({ ...given, model: { from: repository }, lora: { rank: 2 } }));
  const name = ["--set", "checkpoint.name=adapted"];
  const printed = await succeed("train", config, "--set", "train.steps=6", ...name);
  expect(printed).toMatch(/downloading 4 files of acme\/tiny \(commit 0123456789ab\), \d+ kB, to /);
  expect(printed).toMatch(/tokenizer: 320 tokens from .*models--acme--tiny/);
  const run = join(small.folder, "runs/adapted");
  const adapter = JSON.parse(await readFile(join(run, "latest/adapter_config.json"), "utf8")) as object;
  expect(adapter).toMatchObject({ base_model_name_or_path: repository, revision: hub.commit });
  expect(await readFile(join(run, "ringtune.yaml"), "utf8")).toMatch(/from: acme\/tiny/);
  const [before] = await readValidations(run);
  const trained = (await readValidations(join(small.folder, "runs/base"))).at(-1)!;
  expect(before!.loss).toBeCloseTo(trained.loss, 6);

  // From here on without network.
  await hub.close();
  await succeed("train", "--resume", run, "--set", "train.steps=8");
  expect(await readSteps(run)).toHaveLength(8);
  const merged = join(small.folder, "merged");
  await succeed("merge", run, "--out", merged, "--dtype", "bfloat16");
  const [whole, half] = [join(latest, "model.safetensors"), join(merged, "model.safetensors")];
  expect((await stat(half)).size).toBeLessThan((await stat(whole)).size * 0.55);
  expect(JSON.parse(await readFile(join(merged, "config.json"), "utf8"))).toMatchObject({ torch_dtype: "bfloat16" });
  const out = join(small.folder, "out");
  await succeed("export", join(small.folder, "runs/base"), "--out", out, "--shard-size", "60kB");
  const shards = (await readdir(out)).filter((file) => /^model-0000\d-of-0000\d\.safetensors$/.test(file));
  expect(shards.length).toBeGreaterThan(1);
  expect(await readdir(out)).toContain("tokenizer.json");
  const text = ["--prompt", "the farmer", "--tokens", "8", "--temperature", "0"];
  const spoken = async (model: string): Promise<string> => (await finish(["generate", model, ...text], { env })).stdout;
  expect(await spoken(out)).toBe(await spoken(latest));
  expect(await spoken(merged)).toMatch(/^the farmer/);

  const unknown = await finish(["train", config, "--set", "model.from=acme/other"], { env });
  expect(unknown.code).toBe(1);
  expect(unknown.stderr).toMatch(
    /^ringtune: cannot reach http.*acme\/other: .*; there is no folder acme\/other either\n$/,
  );
});

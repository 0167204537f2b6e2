// Models by name, against a real HTTP server that behaves as the Hub does, and as it should not.

import { spawnSync } from "node:child_process";
import { createHash, randomBytes } from "node:crypto";
import { mkdir, readdir, readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { describe, expect, test } from "vitest";
import { RingtuneError } from "../../../common/errors.ts";
import { obtain, type ObtainOptions, type DownloadProgress } from "../../../common/hub/obtain.ts";
import { temporaryFolder } from "../../support/cli.ts";
import { repository, sendPart, startHubServer, type HubServer } from "../../support/hub-server.ts";

const weights = randomBytes(300_000);
const files = {
  "config.json": '{"model_type":"gpt2"}',
  "tokenizer.json": "{}",
  "README.md": "not needed",
  "pytorch_model.bin": randomBytes(2000),
  "model.safetensors": weights,
};

interface Setting {
  readonly hub: HubServer;
  readonly env: NodeJS.ProcessEnv;
  readonly notices: string[];
  readonly obtain: (name?: string, options?: Partial<ObtainOptions>) => ReturnType<typeof obtain>;
  /** Of the repository in the cache. */
  readonly cached: () => Promise<string[]>;
}

async function setting(given: HubServer["files"] = { ...files }): Promise<Setting> {
  const hub = await startHubServer(given);
  const cache = await temporaryFolder();
  const env = { HF_ENDPOINT: hub.url, HF_HUB_CACHE: cache, HF_HOME: cache };
  const notices: string[] = [];
  return {
    hub,
    env,
    notices,
    obtain: (name = repository, options = {}) =>
      obtain(name, { env, need: "model", onNotice: (line) => notices.push(line), pauseMs: 1, ...options }),
    cached: async () => (await readdir(cache, { recursive: true })).sort(),
  };
}

const bytesSent = (hub: HubServer): string[] =>
  hub.requests.filter(({ path }) => path.includes("/resolve/")).map(({ path }) => path.split("/").at(-1)!);

describe("a repository", () => {
  test("comes with the files that a run needs and no others, into the layout of Hugging Face's own cache", async () => {
    const { hub, obtain, notices, env, cached } = await setting();
    const found = await obtain();
    expect(found.hub).toEqual({ name: repository, commit: hub.commit });
    expect(found.path).toBe(join(env["HF_HUB_CACHE"]!, "models--acme--tiny/snapshots", hub.commit));
    expect((await readdir(found.path)).sort()).toEqual(["config.json", "model.safetensors", "tokenizer.json"]);
    expect(await readFile(join(found.path, "model.safetensors"))).toEqual(weights);
    expect(await readFile(join(found.path, "config.json"), "utf8")).toBe(files["config.json"]);
    expect(await cached()).toContain("models--acme--tiny/refs/main");
    expect(await cached()).toContain(`models--acme--tiny/blobs/${createHash("sha256").update(weights).digest("hex")}`);
    expect(notices[0]).toMatch(/^downloading 3 files of acme\/tiny \(commit 0123456789ab\), 300 kB, to .*models--acme/);
    expect(notices[1]).toMatch(/^downloaded acme\/tiny in \d+\.\d s, .*B\/s$/);
  });

  test("that is there already is only asked for its commit, and a newer commit downloads what changed", async () => {
    const { hub, obtain, notices } = await setting();
    await obtain();
    const before = bytesSent(hub).length;
    const again = await obtain();
    expect(bytesSent(hub)).toHaveLength(before);
    expect(notices).toHaveLength(2);
    hub.files["config.json"] = '{"model_type":"llama"}';
    expect(await readFile(join((await obtain()).path, "config.json"), "utf8")).toBe('{"model_type":"llama"}');
    expect(bytesSent(hub).slice(before)).toEqual(["config.json"]);
    expect(again.hub!.commit).toBe(hub.commit);
  });

  test("in shards comes with all that the index names", async () => {
    const index = { weight_map: { a: "model-00001-of-00002.safetensors", b: "model-00002-of-00002.safetensors" } };
    const others: HubServer["files"] = { ...files };
    delete others["model.safetensors"];
    const given: HubServer["files"] = { ...others, "model.safetensors.index.json": JSON.stringify(index) };
    given["model-00001-of-00002.safetensors"] = randomBytes(1500);
    given["extra.safetensors"] = randomBytes(1500);
    const { hub, obtain } = await setting(given);
    await expect(obtain()).rejects.toThrow(/lacks model-00002-of-00002.safetensors, which its .*index.json names/);
    given["model-00002-of-00002.safetensors"] = randomBytes(20);
    const { path } = await obtain();
    expect((await readdir(path)).filter((name) => name.startsWith("model")).sort()).toEqual([
      "model-00001-of-00002.safetensors",
      "model-00002-of-00002.safetensors",
      "model.safetensors.index.json",
    ]);
    await hub.close();
    expect((await obtain()).path).toBe(path);
  });

  test("gives its tokenizer alone", async () => {
    const { hub, obtain } = await setting({ ...files, "tokenizer_config.json": "{}" });
    await obtain(repository, { need: "tokenizer" });
    expect(bytesSent(hub).sort()).toEqual(["tokenizer.json", "tokenizer_config.json"]);
  });

  test("is a folder of that name, when there is one", async () => {
    const { hub, obtain } = await setting();
    const folder = join(await temporaryFolder(), repository);
    await mkdir(folder, { recursive: true });
    expect(await obtain(folder)).toEqual({ path: folder });
    expect(await obtain("./no/such/folder")).toEqual({ path: "./no/such/folder" });
    expect(hub.requests).toEqual([]);
  });

  test.each<[string, HubServer["files"], RegExp]>([
    [
      "weights of PyTorch only",
      { "config.json": "{}", "pytorch_model.bin": "x" },
      /the repository acme\/tiny holds its weights as pytorch_model\.bin and not as model\.safetensors.*convert it/,
    ],
    ["an adapter", { "adapter_config.json": "{}", "adapter_model.safetensors": "x" }, /holds an adapter and no model/],
    ["no weights", { "config.json": "{}" }, /has no model\.safetensors, only config\.json/],
    ["no config", { "model.safetensors": "x" }, /has no config\.json/],
    [
      "an index of nothing",
      { "config.json": "{}", "model.safetensors.index.json": '{"weight_map":{"a":"../../x"}}' },
      /index\.json that names no shards/,
    ],
  ])("with %s is refused before the weights come", async (_, given, why) => {
    const { obtain, hub } = await setting(given);
    await expect(obtain()).rejects.toThrow(why);
    expect(bytesSent(hub).filter((name) => !name.endsWith(".json"))).toEqual([]);
  });
});

describe("a token", () => {
  test("goes to the Hub and not to where it redirects, and is in no message", async () => {
    const { hub, obtain, env, notices } = await setting();
    env["HF_TOKEN"] = "hf_topsecret";
    await obtain();
    const [atHub, atStore] = [false, true].map((store) => hub.requests.filter(({ atStore }) => atStore === store));
    expect(atHub!.every(({ authorization }) => authorization === "Bearer hf_topsecret")).toBe(true);
    expect(atStore!.map(({ authorization }) => authorization)).toEqual([undefined]);
    hub.fault = (_, response) => response.writeHead(401, { "x-error-code": "RepoNotFound" }).end() !== undefined;
    const error: unknown = await obtain("acme/other").catch((cause: unknown) => cause);
    expect((error as Error).message).toMatch(/has no model acme\/other that the token which is set may read \(401\)/);
    expect(JSON.stringify([notices, (error as Error).message, (error as RingtuneError).details])).not.toContain(
      "topsecret",
    );
  });

  test("is read from its file, and one that is none is refused without being shown", async () => {
    const { hub, obtain, env } = await setting();
    await writeFile(join(env["HF_HOME"]!, "token"), "hf_fromfile\n");
    await obtain();
    expect(hub.requests[0]!.authorization).toBe("Bearer hf_fromfile");
    env["HF_TOKEN"] = "secret-of-another-kind";
    await expect(obtain()).rejects.toThrow("HF_TOKEN holds no token of the Hub, which begin with hf_");
  });
});

describe("what can't be had is one sentence:", () => {
  const status = (code: number, header?: string) => (hub: HubServer) => {
    hub.fault = (_, response) => {
      response.writeHead(code, header === undefined ? {} : { "x-error-code": header }).end();
      return true;
    };
  };
  test.each<[string, (hub: HubServer) => unknown, string, RegExp]>([
    [
      "no such model",
      () => 0,
      "acme/none",
      /has no model acme\/none that anyone may read \(404\); check the name, or set HF_TOKEN/,
    ],
    [
      "private",
      status(401, "RepoNotFound"),
      repository,
      /that anyone may read \(401\); check the name, or set HF_TOKEN/,
    ],
    ["gated", status(403, "GatedRepo"), repository, /acme\/tiny is gated or private \(403\): ask for access at http/],
    ["no such revision", () => 0, `${repository}@v9`, /has acme\/tiny, but no revision v9 of it/],
    ["a server that fails", status(500), repository, /cannot reach http.* for acme\/tiny: it answered 500/],
    ["no network", (hub) => hub.close(), repository, /cannot reach http.* for acme\/tiny: .*ECONNREFUSED/],
  ])("%s", async (_, prepare, name, expected) => {
    const { hub, obtain, cached } = await setting();
    await prepare(hub);
    await expect(obtain(name)).rejects.toThrow(expected);
    await expect(obtain(name)).rejects.toThrow(`there is no folder ${name} either`);
    expect(await cached()).toEqual([]);
  });

  test("a server that says nothing", async () => {
    const { hub, obtain } = await setting();
    hub.fault = () => true;
    await expect(obtain(repository, { patienceMs: 50 })).rejects.toThrow(/cannot reach .*: it said nothing for 0.05 s/);
  });

  test("a Hub that is switched off, unless the cache has it", async () => {
    const { hub, obtain, env } = await setting();
    env["HF_HUB_OFFLINE"] = "1";
    await expect(obtain()).rejects.toThrow(/HF_HUB_OFFLINE is set and .* has no whole copy of acme\/tiny at main/);
    delete env["HF_HUB_OFFLINE"];
    const { path } = await obtain();
    env["HF_HUB_OFFLINE"] = "1";
    const before = hub.requests.length;
    expect((await obtain()).path).toBe(path);
    expect(hub.requests).toHaveLength(before);
  });
});

test("without network the copy in the cache is used, and said to be", async () => {
  const { hub, obtain, notices } = await setting();
  const { path } = await obtain();
  await hub.close();
  expect((await obtain()).path).toBe(path);
  expect(notices.at(-1)).toMatch(/ECONNREFUSED.*; going on with the copy in the cache, commit 0123456789ab/);
});

describe("a connection that breaks", () => {
  /** Sends `share` of what is asked for and hangs up. */
  function breakAfter(hub: HubServer, share: number, times: number): void {
    let left = times;
    hub.fault = ({ path, range, atStore }, response, contents) => {
      if (!atStore || !path.endsWith("model.safetensors") || left-- <= 0) return false;
      const from = Number(/\d+/.exec(range ?? "0")![0]);
      const length = contents!.length - from;
      response.writeHead(range === undefined ? 200 : 206, { "content-length": length });
      response.write(contents!.subarray(from, from + Math.floor(length * share)), () => response.destroy());
      return true;
    };
  }

  test("is taken up where it broke, until the file is whole", async () => {
    const { hub, obtain } = await setting();
    breakAfter(hub, 0.5, 3);
    const { path } = await obtain();
    expect(await readFile(join(path, "model.safetensors"))).toEqual(weights);
    const ranges = hub.requests.filter(({ atStore }) => atStore).map(({ range }) => range);
    expect(ranges[0]).toBeUndefined();
    expect(ranges.length).toBe(4);
    expect(ranges.slice(1).every((range) => /^bytes=[1-9]\d+-\d+$/.test(range!))).toBe(true);
  });

  test("for good is said with both numbers, and the next start goes on from there", async () => {
    const { hub, obtain, cached, notices } = await setting();
    breakAfter(hub, 0.5, 1);
    const broken = hub.fault;
    hub.fault = (request, response, contents) => {
      if (broken(request, response, contents)) return true;
      if (!request.atStore) return false;
      response.destroy();
      return true;
    };
    await expect(obtain()).rejects.toThrow(/model\.safetensors of acme\/tiny stopped after \d+ of 300000 bytes \(/);
    const left = (await cached()).filter((name) => name.endsWith(".incomplete"));
    expect(left).toHaveLength(1);
    expect((await cached()).some((name) => name.endsWith("snapshots"))).toBe(false);
    hub.fault = () => false;
    const { path } = await obtain();
    expect(await readFile(join(path, "model.safetensors"))).toEqual(weights);
    expect(hub.requests.at(-1)!.range).toMatch(/^bytes=[1-9]/);
    expect(notices.at(-1)).toContain("were there from an earlier attempt");
    expect((await cached()).filter((name) => name.endsWith(".incomplete"))).toEqual([]);
  });

  test("of a process that lives no more is taken up, too", async () => {
    const { hub, obtain, env } = await setting();
    const blobs = join(env["HF_HUB_CACHE"]!, "models--acme--tiny/blobs");
    await mkdir(blobs, { recursive: true });
    const { pid } = spawnSync(process.execPath, ["-e", ""]);
    const digest = createHash("sha256").update(weights).digest("hex");
    await writeFile(join(blobs, `${digest}.${pid}.incomplete`), weights.subarray(0, 1234));
    expect(await readFile(join((await obtain()).path, "model.safetensors"))).toEqual(weights);
    expect(hub.requests.at(-1)!.range).toBe("bytes=1234-299999");
  });

  test("to a server without parts begins anew", async () => {
    const { hub, obtain } = await setting();
    breakAfter(hub, 0.5, 1);
    const broken = hub.fault;
    hub.fault = (request, response, contents) => {
      if (broken(request, response, contents)) return true;
      if (request.atStore) sendPart(response, contents!, undefined);
      return request.atStore;
    };
    expect(await readFile(join((await obtain()).path, "model.safetensors"))).toEqual(weights);
  });
});

test("bytes that are not those of the Hub are asked for twice, refused with both digests, and not kept", async () => {
  const { hub, obtain, cached } = await setting();
  hub.fault = ({ atStore }, response, contents) => {
    if (atStore) sendPart(response, Buffer.from(contents!).fill(7, 0, 10), undefined);
    return atStore;
  };
  const digest = createHash("sha256").update(weights).digest("hex");
  await expect(obtain()).rejects.toThrow(new RegExp(`has sha256 [0-9a-f]{64}, ${digest} were promised, twice`));
  expect((await cached()).filter((name) => name.includes(digest))).toEqual([]);
});

test("progress has bytes, their sum and a rate", async () => {
  const { obtain } = await setting();
  const seen: DownloadProgress[] = [];
  await obtain(repository, { onProgress: (progress) => seen.push(progress) });
  expect(seen[0]).toMatchObject({ phase: "download", total: 300_023 });
  expect(seen.every(({ done, total, perSecond }) => done >= 0 && done <= total && perSecond >= 0)).toBe(true);
});

test("a download that is cancelled ends with the reason", async () => {
  const { hub, obtain } = await setting();
  const stop = new AbortController();
  hub.fault = ({ atStore }) => {
    if (atStore) stop.abort(new Error("stopped by hand"));
    return atStore;
  };
  await expect(obtain(repository, { signal: stop.signal })).rejects.toThrow("stopped by hand");
});

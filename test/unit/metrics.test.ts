import { createServer } from "node:net";
import { once } from "node:events";
import { readFile } from "node:fs/promises";
import type { AddressInfo } from "node:net";
import { afterEach, describe, expect, test } from "vitest";
import { RingtuneError } from "../../common/errors.ts";
import type { StepRecord } from "../../common/records.ts";
import { metricDefinitions } from "../../coordinator/metric-catalogue.ts";
import { metricReference } from "../../coordinator/metric-reference.ts";
import { createMetrics, type Metrics } from "../../coordinator/metrics.ts";
import { serveMetrics, type MetricsServer } from "../../coordinator/metrics-server.ts";

const record: StepRecord = {
  kind: "step",
  ledger: { leased: 40, committed: 32, requeued: 8, duplicated: 0, lost: 0, digest: "00" },
  step: 7,
  epoch: 0.25,
  loss: 3.5,
  learningRate: 3e-4,
  gradientNorm: 1.25,
  samples: 16,
  tokens: 2032,
  seconds: { data: 0.002, compute: 0.4, allReduce: 0.03, commit: 0.004, total: 0.45 },
  allReduceBytes: 34_000_000,
  bytesBetweenHosts: 17_000_000,
  busBandwidth: 1.1e9,
  worldSize: 2,
  generation: 3,
  timeMs: 0,
};

/** "name{labels}" -> value of the exposition format. */
function samples(text: string): Map<string, number> {
  const lines = text.split("\n").filter((line) => line !== "" && !line.startsWith("#"));
  return new Map(
    lines.map((line) => {
      const cut = line.lastIndexOf(" ");
      return [line.slice(0, cut), Number(line.slice(cut + 1))];
    }),
  );
}

/** A run in which everything happens. */
async function everything(): Promise<Metrics> {
  const metrics = createMetrics(() => 1_700_000_000_000);
  metrics.begin({ run: "demo", steps: 40, workers: 2, freeBytes: async () => 5e9 });
  metrics.observeSession({ kind: "refused" });
  metrics.observeSession({ kind: "joined", id: "w0", host: "node-1" });
  metrics.observeSession({ kind: "said", id: "w0", message: formed });
  metrics.observePaces(() => [["w0", { lagSeconds: 0.25, rowsPerSecond: 40 }]]);
  metrics.observeSession({ kind: "said", id: "w0", message: reduced });
  metrics.setWorldSize(2);
  metrics.setGeneration(1);
  metrics.observeStep(record);
  metrics.observeValidation(validation);
  metrics.observeCheckpoint(7, 1234);
  return metrics;
}

const validation = {
  kind: "validation",
  step: 8,
  loss: 2,
  perplexity: Math.E ** 2,
  metrics: { accuracy: 0.9, f1: 0.8, f1_macro: 0.85, f1_micro: 0.9, precision: 0.75, recall: 0.86 },
  tokens: 9,
  seconds: 1,
  timeMs: 0,
} as const;

const formed = {
  kind: "formed",
  value: {
    ...{ generation: 1, step: 0, parameters: 1, digest: "", engineWhy: [] as string[], notices: [] as string[] },
    engine: "onnx cuda:0 (NVIDIA H100)",
    gpuUuid: "GPU-5f0d",
    links: [] as never[],
  },
} as const;

const reduced = {
  kind: "reduced",
  value: {
    generation: 1,
    step: 7,
    lossSum: 1,
    tokens: 1016,
    gradientNorm: 1,
    digest: "",
    times: {
      dataSeconds: 0.001,
      computeSeconds: 0.5,
      allReduceSeconds: 0.02,
      collectiveSeconds: 0.02,
      microbatches: [] as never[],
      buckets: [] as never[],
    },
    bytesSent: 17e6,
    bytesBetweenHosts: 8.5e6,
    notFiniteRows: [] as number[],
    notFiniteTensors: [] as never[],
    rows: 16,
    sampleDigest: "",
  },
} as const;

describe("metrics", () => {
  test("show the last step and validation, and count over all", async () => {
    const metrics = createMetrics();
    metrics.observeStep(record);
    metrics.observeStep({ ...record, step: 8, loss: 3, seconds: { ...record.seconds, compute: 0.2 } });
    metrics.observeValidation(validation);
    const found = samples(await metrics.text());
    expect(found.get('ringtune_validation_metric{metric="f1"}')).toBe(0.8);
    expect(
      Object.fromEntries([...found].filter(([name]) => name.startsWith("ringtune_") && !name.includes("{"))),
    ).toEqual({
      ringtune_checkpoint_failures_total: 0,
      ringtune_recovery_seconds_count: 0,
      ringtune_recovery_seconds_sum: 0,
      ringtune_train_loss: 3,
      ringtune_validation_loss: 2,
      ringtune_validation_perplexity: Math.E ** 2,
      ringtune_learning_rate: 3e-4,
      ringtune_gradient_norm: 1.25,
      ringtune_step: 8,
      ringtune_epoch: 0.25,
      ringtune_tokens_processed_total: 4064,
      ringtune_samples_processed_total: 32,
      ringtune_steps_committed_total: 2,
      ringtune_workers_joined_total: 0,
      ringtune_workers_lost_total: 0,
      ringtune_workers_refused_total: 0,
      ringtune_last_step_timestamp_seconds: expect.closeTo(Date.now() / 1000, -2) as number,
      ringtune_world_size: 2,
      ringtune_generation: 3,
      ringtune_all_reduce_bytes_total: 68_000_000,
      ringtune_all_reduce_bytes_between_hosts_total: 34_000_000,
      ringtune_all_reduce_bus_bandwidth_bytes_per_second: 1.1e9,
    });
    expect(found.get('ringtune_step_seconds_bucket{le="0.25",phase="compute"}')).toBe(1);
    expect(found.get('ringtune_step_seconds_count{phase="compute"}')).toBe(2);
    expect(found.get('ringtune_step_seconds_sum{phase="compute"}')).toBeCloseTo(0.6);
    for (const phase of ["data", "all_reduce", "commit", "total"]) {
      expect(found.get(`ringtune_step_seconds_count{phase="${phase}"}`)).toBe(2);
    }
    metrics.setWorldSize(1);
    metrics.setGeneration(4);
    const later = samples(await metrics.text());
    expect([later.get("ringtune_world_size"), later.get("ringtune_generation")]).toEqual([1, 4]);
  });

  test("follow the conventions of Prometheus", async () => {
    const text = await (await everything()).text();
    const types = [...text.matchAll(/^# TYPE (\S+) (\S+)$/gm)].map(([, name = "", type = ""]) => ({ name, type }));
    const own = types.filter(({ name }) => name.startsWith("ringtune_"));
    expect(own.map(({ name }) => name).sort(), "all of the catalogue").toEqual(
      metricDefinitions.map(({ name }) => name).sort(),
    );
    for (const { name, type } of own) {
      expect(name, "snake case").toMatch(/^[a-z][a-z0-9]*(_[a-z0-9]+)*$/);
      expect(name.endsWith("_total"), `${name}: _total is for counters, and for all of them`).toBe(type === "counter");
      expect(name, "base units").not.toMatch(/_(ms|milliseconds|minutes|kb|mb|kilobytes|megabytes|percent)(_|$)/);
      expect(name, "the type is no part of the name").not.toMatch(/_(gauge|counter|histogram)(_|$)/);
      const help = new RegExp(`^# HELP ${name} (.*)$`, "m").exec(text)?.[1] ?? "";
      expect(help, `help of ${name}`).toMatch(/^[A-Z].{15,}\.$/);
    }
    expect(types.some(({ name }) => name === "process_cpu_seconds_total")).toBe(true);
    expect(types.some(({ name }) => name === "nodejs_eventloop_lag_seconds")).toBe(true);
  });

  test("of a worker are there as long as it is, and say how fast it is", async () => {
    const metrics = await everything();
    const found = samples(await metrics.text());
    expect(found.get('ringtune_worker_tokens_per_second{worker="w0"}')).toBe(2032);
    expect(found.get('ringtune_worker_arrival_lag_seconds{worker="w0"}')).toBe(0.25);
    expect(found.get('ringtune_worker_rows_per_second{worker="w0"}')).toBe(40);
    expect(found.get('ringtune_worker_phase_seconds{worker="w0",phase="compute"}')).toBe(0.5);
    expect(found.get('ringtune_worker_last_heard_timestamp_seconds{worker="w0"}')).toBe(1.7e9);
    expect(
      found.get(
        'ringtune_worker_info{worker="w0",host="node-1",device="onnx cuda:0 (NVIDIA H100)",gpu_uuid="GPU-5f0d"}',
      ),
    ).toBe(1);
    expect(found.get("ringtune_run_directory_free_bytes")).toBe(5e9);
    metrics.observeSession({ kind: "left", id: "w0", expected: false });
    metrics.observeSession({ kind: "joined", id: "w1", host: "node-2" });
    metrics.observeSession({ kind: "left", id: "w1", expected: true });
    const text = await metrics.text();
    expect(text).not.toContain('worker="');
    const later = samples(text);
    const counts = ["joined", "lost", "refused"].map((what) => later.get(`ringtune_workers_${what}_total`));
    expect(counts).toEqual([2, 1, 1]);
  });

  test("tell how long it took from the loss of a worker to the next step, and of newcomers nothing", async () => {
    const clock = { ms: 1_000_000 };
    const metrics = createMetrics(() => clock.ms);
    const recoveries = async (): Promise<unknown[]> => {
      const found = samples(await metrics.text());
      return ["count", "sum"].map((what) => found.get(`ringtune_recovery_seconds_${what}`));
    };
    metrics.setGeneration(3);
    for (const id of ["w0", "w1"]) metrics.observeSession({ kind: "said", id, message: formed });
    metrics.observeSession({ kind: "joined", id: "w2", host: "node-2" });
    metrics.observeSession({ kind: "left", id: "w2", expected: false });
    metrics.observeStep({ ...record, generation: 4 });
    expect(await recoveries()).toEqual([0, 0]);
    metrics.observeSession({ kind: "left", id: "w1", expected: false });
    // The survivors still apply what was committed before.
    metrics.observeStep({ ...record, generation: 3 });
    clock.ms += 750;
    metrics.setGeneration(4);
    metrics.observeStep({ ...record, generation: 4 });
    metrics.observeStep({ ...record, generation: 4 });
    expect(await recoveries()).toEqual([1, 0.75]);
  });

  test("count who was turned away by reason, from 0", async () => {
    const metrics = createMetrics();
    metrics.observeRefusal("workers", "silent");
    metrics.observeRefusal("metrics", "rate");
    metrics.observeRefusal("metrics", "rate");
    const found = [...samples(await metrics.text())].filter(([name]) => name.startsWith("ringtune_refusals_total"));
    expect(Object.fromEntries(found.map(([name, value]) => [name.slice(23), value]))).toEqual({
      '{port="workers",reason="silent"}': 1,
      '{port="workers",reason="crowded"}': 0,
      '{port="workers",reason="full"}': 0,
      '{port="workers",reason="unreadable"}': 0,
      '{port="workers",reason="unread"}': 0,
      '{port="metrics",reason="full"}': 0,
      '{port="metrics",reason="rate"}': 2,
      '{port="metrics",reason="password"}': 0,
      '{port="metrics",reason="unread"}': 0,
    });
  });

  test("have no value for what has not happened", async () => {
    const text = await createMetrics().text();
    expect(text).not.toContain("ringtune_train_loss");
    expect(samples(text).get("ringtune_steps_committed_total")).toBe(0);
  });

  test("a disk that can't be asked is no reason to fail a scrape", async () => {
    const metrics = createMetrics();
    const freeBytes = (): Promise<number> => Promise.reject(new Error("gone"));
    metrics.begin({ run: "demo", steps: 40, workers: 2, freeBytes });
    expect(await metrics.text()).not.toContain("ringtune_run_directory_free_bytes");
  });

  test("docs/metrics.md is what `ringtune metrics` prints", async () => {
    const path = new URL("../../docs/metrics.md", import.meta.url);
    expect(await readFile(path, "utf8"), "stale: npx ringtune metrics > docs/metrics.md").toBe(metricReference());
  });

  test("of two runs in one process are apart", async () => {
    const [a, b] = [createMetrics(), createMetrics()];
    a.observeStep(record);
    expect(samples(await b.text()).get("ringtune_steps_committed_total")).toBe(0);
  });
});

describe("the metrics server", () => {
  const servers: MetricsServer[] = [];
  afterEach(async () => {
    for (const server of servers.splice(0)) await server.close();
  });

  async function serve(port = 0, host = "127.0.0.1"): Promise<MetricsServer> {
    const server = await serveMetrics({ host, port, metrics: await everything() });
    servers.push(server);
    return server;
  }

  test("answers /metrics and /healthz, and nothing else", async () => {
    const { url } = await serve();
    const scrape = await fetch(url);
    expect(scrape.headers.get("content-type")).toBe("text/plain; version=0.0.4; charset=utf-8");
    expect(await scrape.text()).toContain("# TYPE ringtune_train_loss gauge");
    expect((await fetch(`${url}?name[]=x`)).status).toBe(200);
    expect(await (await fetch(new URL("/healthz", url))).text()).toBe("ok\n");
    const missing = await fetch(new URL("/", url));
    expect([missing.status, await missing.text()]).toEqual([404, "not found; try /metrics\n"]);
    const post = await fetch(url, { method: "POST", body: "x" });
    expect([post.status, post.headers.get("allow")]).toEqual([405, "GET, HEAD"]);
    expect(await (await fetch(url, { method: "HEAD" })).text()).toBe("");
  });

  test("names the busy port and the way out", async () => {
    const other = createServer().listen(0, "127.0.0.1");
    await once(other, "listening");
    const { port } = other.address() as AddressInfo;
    const error = await serve(port).catch((thrown: unknown) => thrown);
    other.close();
    expect(error).toBeInstanceOf(RingtuneError);
    expect(error).toMatchObject({ code: "address_in_use", details: { port } });
    expect((error as Error).message).toBe(
      `can't serve metrics on 127.0.0.1:${port}: another process listens there; stop it, or set metrics.port to another port (0 takes a free one)`,
    );
  });

  test("names an address that this host does not have", async () => {
    const error = await serve(0, "192.0.2.1").catch((thrown: unknown) => thrown);
    expect(error).toMatchObject({ code: "config_invalid" });
    expect((error as Error).message).toContain("192.0.2.1:0: this host has no such address; set metrics.host");
  });

  test("ends open connections when it is closed", async () => {
    const server = await serve();
    await fetch(server.url);
    servers.pop();
    await server.close();
    await expect(fetch(server.url)).rejects.toThrow();
  });
});

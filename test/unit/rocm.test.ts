// AMD's GPUs as rocm-smi and the kernel list them. Samples are those that users of these tools have published.

import { mkdir, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { expect, test } from "vitest";
import { listRocmGpus, parseRocmSmi, readTopology, visibleRocmGpus, type RocmGpu } from "../../common/rocm.ts";
import { temporaryFolder } from "../support/cli.ts";
import { withTool } from "../support/nvidia-smi.ts";

const mi200 = {
  card0: {
    "Card Series": "AMD INSTINCT MI200 (MCM) OAM LC MBA HPE C2",
    "Card Model": "0x7408",
    "Card Vendor": "Advanced Micro Devices, Inc. [AMD/ATI]",
    "Card SKU": "D65201",
    "Subsystem ID": "0x0b0c",
    "Device Rev": "0x00",
    "Node ID": "7",
    GUID: "58294",
    "GFX Version": "gfx9010",
  },
};

const rocm5 = {
  card0: { "GPU ID": "0x740c", "Unique ID": "0x719d230578348e8c", "VBIOS version": "113-D65209-073" },
  system: { "Driver version": "5.18.13" },
};

const phoenix = {
  card0: { "Device Name": "Phoenix3", "Device ID": "0x1900", "Unique ID": "N/A", "PCI Bus": "0000:C4:00.0" },
};

/** Of rocm-smi 4, whose names have another case. */
const mi100 = { card0: { "Card series": "Arcturus GL-XL [AMD Instinct MI100]", "Card model": "0x0c34" } };

/** As gpus of a host with an MI300X have it, shortened to what is near the lines that are read. */
const kfd = {
  0: "cpu_cores_count 96\nsimd_count 0\nmem_banks_count 1\ngfx_target_version 0\nvendor_id 0\nlocation_id 0\ndomain 0\ndrm_render_minor 0\n",
  10: "cpu_cores_count 0\nsimd_count 1216\nvendor_id 4098\ndevice_id 29857\nlocation_id 18176\ndomain 0\ndrm_render_minor 136\nunique_id 4376936076086227262\n",
  2: "cpu_cores_count 0\nsimd_count 1216\ngfx_target_version 90402\nvendor_id 4098\ndevice_id 29857\nlocation_id 1280\ndomain 0\ndrm_render_minor 128\nhive_id 10631624818852212319\nunique_id 4376936076086227261\nnum_xcc 8\n",
};

async function topology(files: Readonly<Record<string, string>>): Promise<string> {
  const folder = await temporaryFolder();
  for (const [node, text] of Object.entries(files)) {
    await mkdir(join(folder, node));
    await writeFile(join(folder, node, "properties"), text);
    await writeFile(join(folder, node, "name"), node === "0" ? "\n" : "ip discovery\n");
  }
  return folder;
}

test("reads what versions of rocm-smi say with --json", () => {
  expect(parseRocmSmi(JSON.stringify(mi200))).toEqual([
    { name: "AMD INSTINCT MI200 (MCM) OAM LC MBA HPE C2", uuid: undefined, pciAddress: undefined },
  ]);
  expect(parseRocmSmi(JSON.stringify(rocm5))).toEqual([
    { name: "AMD GPU", uuid: "GPU-719d230578348e8c", pciAddress: undefined },
  ]);
  expect(parseRocmSmi(JSON.stringify(phoenix))).toEqual([
    { name: "Phoenix3", uuid: undefined, pciAddress: "0000:c4:00.0" },
  ]);
  expect(parseRocmSmi(JSON.stringify(mi100))?.[0]?.name).toBe("Arcturus GL-XL [AMD Instinct MI100]");
});

test("cards are in the order of their numbers, and warnings before the list are not read", () => {
  const cards = Object.fromEntries(["10", "2", "0"].map((n) => [`card${n}`, { "Card Series": `GPU ${n}` }]));
  const text = `WARNING: AMD GPU device(s) is/are in a low-power state.\n\n${JSON.stringify(cards, null, 2)}\n`;
  expect(parseRocmSmi(text)?.map(({ name }) => name)).toEqual(["GPU 0", "GPU 2", "GPU 10"]);
});

test.each(["", "No AMD GPUs specified\n", "{", "[]", "{}", '{"system":{"Driver version":"5"}}', "null"])(
  "%j is no list",
  (text) => {
    expect(parseRocmSmi(text)).toBeUndefined();
  },
);

test("reads the kernel's list, in the order of its nodes and without processors", async () => {
  expect(await readTopology(await topology(kfd))).toEqual([
    { name: "ip discovery", uuid: "GPU-3cbe002bd3b6313d", pciAddress: "0000:05:00.0" },
    { name: "ip discovery", uuid: "GPU-3cbe002bd3b6313e", pciAddress: "0000:47:00.0" },
  ]);
  expect(await readTopology("/no/such/folder")).toBeUndefined();
});

test("parts of a divided GPU have no UUID of their own", async () => {
  const parts = { 1: kfd[2], 2: kfd[2] };
  expect((await readTopology(await topology(parts)))?.map(({ uuid }) => uuid)).toEqual([undefined, undefined]);
});

const three: RocmGpu[] = ["a", "b", "c"].map((name) => ({
  name,
  uuid: `GPU-000000000000000${name}`,
  pciAddress: undefined,
}));

test.each([
  [{}, "abc"],
  [{ ROCR_VISIBLE_DEVICES: "2,0" }, "ca"],
  [{ ROCR_VISIBLE_DEVICES: "GPU-000000000000000B" }, "b"],
  [{ HIP_VISIBLE_DEVICES: "1" }, "b"],
  [{ ROCR_VISIBLE_DEVICES: "1,2", HIP_VISIBLE_DEVICES: "1" }, "c"],
  [{ ROCR_VISIBLE_DEVICES: "0,9,1" }, "a"],
  [{ ROCR_VISIBLE_DEVICES: "" }, ""],
])("%j leaves %j", (env, left) => {
  expect(
    visibleRocmGpus(three, env)
      .map(({ name }) => name)
      .join(""),
  ).toBe(left);
});

test("a rocm-smi that is absent, hangs or talks rubbish is named where the kernel does not tell either", async () => {
  const nowhere = { nodes: "/no/such/folder", limitMs: 300 };
  expect(await listRocmGpus({ PATH: "/nowhere" }, nowhere)).toEqual({
    kind: "unknown",
    reason: "rocm-smi is not installed",
  });
  expect(await listRocmGpus(await withTool("rocm-smi", "sleep 600"), nowhere)).toEqual({
    kind: "unknown",
    reason: "rocm-smi did not answer within 0.3 s",
  });
  expect(await listRocmGpus(await withTool("rocm-smi", "echo '<html>'"), { nodes: nowhere.nodes })).toEqual({
    kind: "unknown",
    reason: "rocm-smi says something that is no list of GPUs",
  });
  const flood = await listRocmGpus(await withTool("rocm-smi", "exec yes"), { nodes: nowhere.nodes });
  expect(flood).toEqual({ kind: "unknown", reason: "rocm-smi says more than 1048576 characters" });
  const broken = await withTool("rocm-smi", "echo 'ERROR: GPU[0] is not initialised' >&2; exit 2");
  expect(await listRocmGpus(broken, { nodes: await topology(kfd) })).toMatchObject({ gpus: { length: 2 } });
});

test("asks rocm-smi for names, UUIDs and places", async () => {
  const env = await withTool(
    "rocm-smi",
    `case "$*" in "--showuniqueid --showproductname --showbus --json") echo '${JSON.stringify(phoenix)}';; esac`,
  );
  expect(await listRocmGpus(env)).toMatchObject({ kind: "known", gpus: [{ name: "Phoenix3" }] });
});

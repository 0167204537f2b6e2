// Adapters as Mesa's layer lists them: the first list is that of Mesa 22.3 on this project's test machine, with two software
// drivers; the others have the form of its source.

import { expect, test } from "vitest";
import { parseAdapters, pinTo, worthwhile } from "../../common/vulkan-adapters.ts";

const software = `selectable devices:
  GPU 0: 1ae0:c0de "SwiftShader Device (Subzero)" CPU
  GPU 1: 10005:0 "llvmpipe (LLVM 15.0.6, 256 bits)" CPU
`;
const mixed = `WARNING: radv is not a conformant Vulkan implementation
selectable devices:
  GPU 0: 1002:164e "AMD Radeon Graphics (RADV RAPHAEL_MENDOCINO)" integrated GPU 0000:0c:00.0
  GPU 1: 1002:744c "AMD Radeon RX 7900 XTX (RADV NAVI31)" discrete GPU 0000:03:00.0
  GPU 2: 1002:744c "AMD Radeon RX 7900 XTX (RADV NAVI31)" discrete GPU 0000:83:00.0
  GPU 3: 10005:0 "llvmpipe (LLVM 15.0.6, 256 bits)" CPU
`;

test("reads the layer's list and nothing else", () => {
  expect(parseAdapters(software)).toEqual([
    { id: "1ae0:c0de", name: "SwiftShader Device (Subzero)", kind: "CPU", pciAddress: undefined },
    { id: "10005:0", name: "llvmpipe (LLVM 15.0.6, 256 bits)", kind: "CPU", pciAddress: undefined },
  ]);
  expect(parseAdapters(mixed).map(({ kind, pciAddress }) => [kind, pciAddress])).toEqual([
    ["integrated GPU", "0000:0c:00.0"],
    ["discrete GPU", "0000:03:00.0"],
    ["discrete GPU", "0000:83:00.0"],
    ["CPU", undefined],
  ]);
  expect(parseAdapters("GPU 0: nothing\n")).toEqual([]);
});

test("GPUs with memory of their own are worth a worker each, others only where there is none of them", () => {
  const adapters = parseAdapters(mixed);
  expect(worthwhile(adapters).map(({ pciAddress }) => pciAddress)).toEqual(["0000:03:00.0", "0000:83:00.0"]);
  expect(worthwhile(adapters.filter(({ kind }) => kind !== "discrete GPU"))).toHaveLength(1);
  expect(worthwhile(parseAdapters(software))).toEqual([]);
});

test("two that are alike can't be told apart without their addresses", () => {
  const alike = parseAdapters(mixed.replaceAll(/ 0000:[038]{2}:00\.0/g, ""));
  expect(worthwhile(alike)).toEqual([]);
});

test("a process is pinned by the address, or by vendor and device where there is none", () => {
  const [, , second] = parseAdapters(mixed);
  const only = { MESA_VK_DEVICE_SELECT_FORCE_DEFAULT_DEVICE: "1" };
  expect(pinTo(second!)).toEqual({ DRI_PRIME: "pci-0000_83_00_0", ...only });
  expect(pinTo(parseAdapters(software)[0]!)).toEqual({ MESA_VK_DEVICE_SELECT: "1ae0:c0de", ...only });
});

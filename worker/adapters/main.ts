// Writes the adapters that WebGPU may take as Mesa's layer lists them (common/vulkan-adapters.ts), for the coordinator, which
// does not load ONNX Runtime itself. Writes nothing where there is no such layer.

import { runProgram } from "../../common/command-line.ts";
import { listingEnvironment } from "../../common/vulkan-adapters.ts";
import { runProbe } from "../engine/onnx/probe.ts";

await runProgram("ringtune adapters", async () => {
  const { stderr } = await runProbe({ name: "webgpu", index: 0 }, { ...process.env, ...listingEnvironment });
  process.stdout.write(stderr);
});

import { defineConfig } from "vitest/config";
import { useSwiftShader } from "./test/support/webgpu.ts";

useSwiftShader(process.env);

// Unit and simulation tests run from the sources; integration tests start real processes from dist/ (make test builds it first).
export default defineConfig({
  test: {
    include: ["test/{unit,sim,integration}/**/*.test.ts"],
    // For machines that have much else to do; what is waited for ends a test long before.
    testTimeout: 180_000,
    hookTimeout: 180_000,
    expect: { poll: { timeout: 120_000 } },
    pool: "forks",
    maxWorkers: 2,
  },
});

import { defineConfig } from "vitest/config";
import { useSwiftShader } from "./test/support/webgpu.ts";

useSwiftShader(process.env);

// Unit and simulation tests run from the sources; integration tests start real processes from dist/ (make test builds it first).
export default defineConfig({
  test: {
    include: ["test/{unit,sim,integration}/**/*.test.ts"],
    testTimeout: 60_000,
    hookTimeout: 60_000,
    pool: "forks",
    maxWorkers: 2,
  },
});

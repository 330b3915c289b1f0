import { availableParallelism } from "node:os";
import { defineConfig } from "vitest/config";

export default defineConfig({
  // TypeScript's own lowering of `using`: Node 20 does not know the syntax.
  oxc: { target: "es2022" },
  test: {
    include: ["test/**/*.test.ts"],
    exclude: ["dist/**", "node_modules/**"],
    pool: "forks",
    maxWorkers: 2,
    maxConcurrency: availableParallelism(), // tests of one file that run side by side: builds, each a process or two
    testTimeout: 60_000,
    hookTimeout: 300_000,
  },
});

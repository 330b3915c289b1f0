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
    testTimeout: 180_000, // a machine may have a third of the time that it seems to have
    hookTimeout: 300_000,
  },
});

import { defineConfig } from "vitest/config";

export default defineConfig({
  // TypeScript's own lowering of `using`: Node 20 does not know the syntax.
  oxc: { target: "es2022" },
  test: {
    include: ["test/**/*.test.ts"],
    exclude: ["dist/**", "node_modules/**"],
    pool: "forks",
    maxWorkers: 2,
    testTimeout: 60_000,
    hookTimeout: 300_000,
  },
});

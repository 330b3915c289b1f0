import { availableParallelism } from "node:os";
import { defineConfig } from "vitest/config";
import { BaseSequencer, type TestSpecification } from "vitest/node";

/**
 * What takes longest, the longest first. In a new checkout vitest begins with the longest texts: then a few lines that
 * run for a minute come last, and one process waits for the other.
 */
const LONG = [
  "conformance/cases",
  "crafted/bombs",
  "pods/conformance",
  "crafted/archives",
  "bench/run",
  "pods/build",
  "context/git",
  "pods/in-place",
  "pods/deploy",
  "pods/debug",
  "e2e/executor-image",
  "pods/attacks",
  "e2e/store-space",
  "e2e/readme",
  "e2e/platforms",
  "worker/in-place",
  "worker/snapshot-single-id",
  "worker/snapshot-overlay",
  "worker/snapshot-mounted",
  "worker/snapshot-plain",
].map((name) => `/test/${name}.test.ts`);

function rank({ moduleId }: TestSpecification): number {
  const at = LONG.findIndex((name) => moduleId.endsWith(name));
  return at === -1 ? LONG.length : at;
}

class LongestFirst extends BaseSequencer {
  override async sort(files: TestSpecification[]): Promise<TestSpecification[]> {
    return (await super.sort(files)).sort((a, b) => rank(a) - rank(b));
  }
}

export default defineConfig({
  // TypeScript's own lowering of `using`: Node 20 does not know the syntax.
  oxc: { target: "es2022" },
  test: {
    include: ["test/**/*.test.ts"],
    exclude: ["dist/**", "node_modules/**"],
    pool: "forks",
    maxWorkers: 2,
    sequence: { sequencer: LongestFirst },
    maxConcurrency: availableParallelism(), // tests of one file that run side by side: builds, each a process or two
    testTimeout: 180_000, // a machine may have a third of the time that it seems to have
    hookTimeout: 300_000,
  },
});

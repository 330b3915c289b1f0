import { describe, expect, test } from "vitest";
import type { BuildOptions } from "../../src/build/options.js";
import { willRun } from "../../src/build/will-run.js";
import { solveOptions } from "../../src/build/solve-options.js";
import { parseDockerfile, planStages } from "../../src/dockerfile/index.js";
import { openStore } from "../../src/store/index.js";
import { tempDir } from "../support/tools.js";

const RUNS = "FROM scratch AS base\nRUN true\nFROM base\nENV a=b\n";

interface Asked {
  readonly text?: string;
  readonly options?: Partial<BuildOptions>;
  /** What the store holds. */
  readonly records?: boolean;
}

async function foreseen({ text = RUNS, options = {}, records = false }: Asked): Promise<boolean> {
  await using dir = await tempDir();
  await using store = await openStore(dir.path, new AbortController().signal);
  if (records) await store.records.put("0".repeat(64), {});
  const all: BuildOptions = { context: dir.path, ...options };
  const [solving] = await solveOptions(all);
  if (solving === undefined) throw new Error("no platform to build for");
  const { buildArgs, buildPlatform, targetPlatform } = solving;
  const plan = planStages(parseDockerfile({ path: "Dockerfile", text }), {
    buildArgs,
    buildPlatform,
    targetPlatform,
    contexts: new Set(),
  });
  return await willRun(all, [{ plan, options: solving }], store);
}

describe("that a command will run", () => {
  test("is known where no cache can have its layer", async () => {
    expect(await foreseen({})).toBe(true);
    expect(await foreseen({ records: true, options: { noCache: true } })).toBe(true);
    expect(await foreseen({ records: true, options: { cache: false } })).toBe(true);
  });

  test("is not known where one may", async () => {
    expect(await foreseen({ records: true })).toBe(false);
    expect(await foreseen({ records: true, options: { noCache: ["base"] } })).toBe(false);
    expect(await foreseen({ options: { registryCache: {} } })).toBe(false);
    const cacheFrom = [{ type: "registry", ref: "registry.example/cache" }] as const;
    expect(await foreseen({ options: { cacheFrom } })).toBe(false);
  });

  test("is not so where the target needs none", async () => {
    expect(await foreseen({ text: "FROM scratch\nCOPY a /\n" })).toBe(false);
    expect(await foreseen({ text: "FROM scratch AS other\nRUN true\nFROM scratch\n" })).toBe(false);
  });
});

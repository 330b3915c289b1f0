import { mkdir } from "node:fs/promises";
import { join } from "node:path";
import { expect, test } from "vitest";
import { ENOUGH_MEMORY, LEAST_MEMORY, memoryForFiles } from "../../src/worker/memory.js";
import { fromWire, toWire } from "../../src/worker/protocol.js";
import { probeHost, startWorker } from "../../src/worker/start.js";
import { TsbuildError } from "../../src/errors.js";
import { untilNothingIsLeft } from "../support/tools-cli.js";
import { describeUnless } from "../support/tools-suite.js";
import { lacksRoot, run, tempDir } from "../support/tools.js";

describeUnless([lacksRoot()], "the probe", () => {
  const signal = AbortSignal.timeout(170_000);

  test.each([
    ["auto", "overlay", "host"],
    ["plain", "plain", "host"],
    ["single-id-overlay", "single-id-overlay", "single-0"],
    ["single-id-plain", "single-id-plain", "single-0"],
  ] as const)("finds for %s the driver %s, and leaves nothing", async (wanted, driver, idMap) => {
    await using dir = await tempDir();
    const host = await probeHost({ driver: wanted, staging: dir.path, signal });
    expect(host).toMatchObject({ driver, idMap });
    expect(host.refused).toEqual([]);
    await untilNothingIsLeft(dir.path);
  });

  test("keeps in memory what an overlay writes where the staging directory lies on one, if there is enough of it", async () => {
    await using dir = await tempDir();
    for (const name of ["lower", "upper", "work", "merged"]) await mkdir(join(dir.path, name));
    const at = join(dir.path, "merged");
    const layers = ["lower", "upper", "work"].map((name) => `${name}dir=${join(dir.path, name)}`);
    const mounted = await run("mount", ["-t", "overlay", "none", "-o", layers.join(","), at]);
    expect(mounted.stderr).toBe("");
    try {
      const host = await probeHost({ driver: "auto", staging: at, signal });
      const isEnough = memoryForFiles() >= ENOUGH_MEMORY;
      expect(host.driver).toBe(isEnough ? "overlay" : "plain");
      expect(host.refused).toMatchObject([{ driver: "overlay" }]);
      expect(host.refused[0]?.because).toContain("an overlay itself");
      expect(host.refused[0]?.podSpec).toContain("emptyDir");
      const forced = await probeHost({ driver: "overlay", staging: at, signal });
      expect(forced.memoryBytes).toBeGreaterThan(LEAST_MEMORY);
      const plain = await probeHost({ driver: "plain", staging: at, signal });
      expect(plain.memoryBytes).toBeUndefined();
    } finally {
      await run("umount", [at]);
    }
  });

  test("stops with the build", async () => {
    await using dir = await tempDir();
    const options = { staging: dir.path, layersDirectory: async () => dir.path, abandoned: [] };
    for (const stopped of [AbortSignal.abort(), AbortSignal.timeout(15)]) {
      const worker = startWorker({ ...options, driver: "auto", signal: stopped });
      await expect(worker).rejects.toMatchObject({ code: "ABORTED" });
    }
    await untilNothingIsLeft(dir.path);
  });
});

test("an error crosses to the front process with its code, message, hint and exit code", () => {
  const error = new TsbuildError("RUN_FAILED", "tried to run x: y", { hint: "z", exitCode: 127 });
  const { code, message, hint, exitCode } = fromWire(structuredClone(toWire(error)));
  expect({ code, message, hint, exitCode }).toEqual({
    code: "RUN_FAILED",
    message: "tried to run x: y",
    hint: "z",
    exitCode: 127,
  });
  const full = Object.assign(new Error("ENOSPC: no space left on device"), { code: "ENOSPC" });
  expect(toWire(full)).toMatchObject({ code: "STORE_FAILED", exitCode: 74 });
  expect(toWire(new Error("oops"))).toMatchObject({ code: "INTERNAL", exitCode: 70 });
});

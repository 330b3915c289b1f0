import { existsSync } from "node:fs";
import { readdir } from "node:fs/promises";
import { join } from "node:path";
import { expect, test } from "vitest";
import { lacksBuild, untilNothingIsLeft } from "../support/tools-cli.js";
import { eventually, lacksRoot } from "../support/tools.js";
import { describeUnless } from "../support/tools-suite.js";
import { memoryRegistry, workshop } from "./pushing.js";

describeUnless([lacksRoot(), lacksBuild()], "a base that is not here yet", () => {
  test("has its lower layer unpacked while the upper one is still on its way", async () => {
    const registry = await memoryRegistry();
    const { build, store } = await workshop();
    const base = `${registry.host}/org/base:1`;
    await build("FROM scratch\nCOPY a /a\nCOPY b /b\n", {
      destinations: [base],
      store: `${store}-of-the-base`,
    });
    const manifest = registry.manifests.get("org/base")?.get("1")?.bytes.toString() ?? "";
    const [, upper] = [...manifest.matchAll(/sha256:[0-9a-f]{64}/g)].slice(1).map(([one]) => one);
    registry.fail({
      kind: "stall",
      afterBytes: 1,
      method: "GET",
      path: new RegExp(upper ?? "none"),
    });
    const stop = new AbortController();
    const built = build(`FROM ${base}\nRUN never\n`, {
      push: false,
      destinations: [base],
      signal: stop.signal,
      driver: "overlay",
      layerMounts: "off",
    });
    const ended = expect(built).rejects.toMatchObject({ code: "ABORTED" });
    try {
      await eventually("an unpacked layer", async () => {
        const maps = existsSync(join(store, "layers")) ? await readdir(join(store, "layers")) : [];
        const found = await Promise.all(maps.map((map) => readdir(join(store, "layers", map))));
        return found.flat().some((name) => /^[0-9a-f]{64}$/.test(name)) ? true : undefined;
      });
      expect(existsSync(join(store, "blobs/sha256", (upper ?? "").slice(7)))).toBe(false);
    } finally {
      stop.abort();
      await ended;
    }
    await untilNothingIsLeft(store);
  });
});

import { existsSync } from "node:fs";
import { readdir } from "node:fs/promises";
import { join } from "node:path";
import { expect, test } from "vitest";
import { busyboxBase, pushBase } from "../support/bases.js";
import { startRegistry } from "../support/services.js";
import { startTokenServer } from "../support/token-server.js";
import { lacksBuild, untilNothingIsLeft } from "../support/tools-cli.js";
import { eventually, lacksRoot, lacksTools } from "../support/tools.js";
import { describeUnless } from "../support/tools-suite.js";
import { gate, memoryRegistry, workshop } from "./pushing.js";

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

describeUnless(
  [lacksRoot(), lacksBuild(), lacksTools("docker-registry", "skopeo", "busybox")],
  "a command that takes long",
  () => {
    test("finds the layers before it in the registry, the base's and those of commands, and no tag", async () => {
      await using registry = await startRegistry();
      const base = await pushBase(await busyboxBase(), registry, "library/busybox:latest");
      const [{ build, store }, door] = [await workshop(), await gate()];
      const destinations = [`${registry.host}/org/app:1`];
      const built = build(
        `FROM ${base}\nRUN echo x >/x\nRUN wget -q -O /from-the-gate ${door.url}\n`,
        { destinations },
      );
      const asked = async (pattern: RegExp): Promise<true | undefined> =>
        (await registry.requests()).some((line) => pattern.test(line)) ? true : undefined;
      try {
        await eventually("a mounted layer", () => asked(/^POST \S*\/org\/app\S*mount=\S+ 201/));
        await eventually("an uploaded layer", () => asked(/^PUT \S*\/org\/app\/blobs\S+ 201/));
        expect(await asked(/^PUT \S*\/org\/app\/manifests/)).toBeUndefined();
      } finally {
        door.open(200);
      }
      expect((await built).pushed).toEqual(destinations);
      await untilNothingIsLeft(store);
    });

    test("is not begun where the registry refuses the image", async () => {
      const grants = (_: string, __: string, action: string): boolean => action === "pull";
      await using tokens = await startTokenServer({ users: {}, grants });
      const registry = await memoryRegistry({ auth: { kind: "bearer", tokens } });
      const [{ build }, door] = [await workshop(), await gate()];
      let isReached = false;
      void door.reached.then(() => (isReached = true));
      await using own = await startRegistry();
      const base = await pushBase(await busyboxBase(), own, "library/busybox:latest");
      const destinations = [`${registry.host}/org/app:1`];
      const built = build(`FROM ${base}\nRUN wget -q ${door.url}\n`, { destinations });
      await expect(built).rejects.toMatchObject({ code: "REGISTRY_DENIED" });
      expect(isReached).toBe(false);
    });
  },
);

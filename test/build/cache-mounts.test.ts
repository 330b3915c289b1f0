import { expect, test } from "vitest";
import { busyboxBase, pushBase } from "../support/bases.js";
import { startRegistry, type RegistryService } from "../support/services.js";
import { lacksBuild } from "../support/tools-cli.js";
import { describeUnless } from "../support/tools-suite.js";
import { lacksRoot, lacksTools } from "../support/tools.js";
import { machines } from "./caching.js";

const TOOLS = lacksTools("docker-registry", "skopeo", "busybox");

describeUnless([TOOLS, lacksBuild(), lacksRoot()], "cache mounts that machines share", () => {
  const baseIn = async (registry: RegistryService): Promise<string> =>
    pushBase(await busyboxBase(), registry, "library/busybox:latest");

  test.each(["registry", "directory"])(
    "a new machine begins with what another one has left in a %s, owners and all",
    async (kind) => {
      await using registry = await startRegistry();
      const base = await baseIn(registry);
      const { build, path } = await machines();
      const cacheMounts =
        kind === "registry" ? `${registry.host}/org/mounts:main` : `oci:${path}/mounts`;
      const mount = `FROM ${base}\nRUN --mount=type=cache,id=x,target=/c`;
      const fill = `${mount} echo 1 > /c/f && chown 7:8 /c/f && chmod 600 /c/f\n`;
      expect((await build("one", fill, { cacheMounts })).notices).toEqual([]);
      const seen = `${mount} test "$(cat /c/f) $(stat -c %u:%g:%a /c/f)" = "1 7:8:600" && echo 2 > /c/g\n`;
      const second = await build("two", seen, { cacheMounts });
      expect([second.made.length, second.notices]).toEqual([1, []]);
      await build("three", `${mount} cat /c/f /c/g\n`, { cacheMounts });
    },
  );

  test("a machine keeps its own, caches that were not used stay there, and nothing new is no push", async () => {
    await using registry = await startRegistry();
    const base = await baseIn(registry);
    const { build } = await machines();
    const options = { cacheMounts: `${registry.host}/org/mounts:main` };
    const run = (id: string, command: string): string =>
      `FROM ${base}\nRUN --mount=type=cache,id=${id},target=/c ${command}\n`;
    await build("one", run("x", "echo one > /c/f"), options);
    await build("two", run("y", "echo two > /c/f"), options);
    // Its own x is there: that of the registry does not take its place.
    await build("one", run("x", "echo mine > /c/f"), {});
    await build("one", run("x", 'test "$(cat /c/f)" = mine'), options);
    await build("three", run("y", 'test "$(cat /c/f)" = two'), options);
    const before = (await registry.requests()).length;
    await build("three", run("y", "true"), options);
    const asked = (await registry.requests()).slice(before);
    expect(asked.filter((one) => /^(PUT|POST)/.test(one))).toEqual([]);
  });

  test("a registry that does not answer is said, and the build goes on", async () => {
    await using registry = await startRegistry();
    const base = await baseIn(registry);
    const { build } = await machines();
    const text = `FROM ${base}\nRUN --mount=type=cache,target=/c echo one > /c/f\n`;
    const { made, notices } = await build("one", text, { cacheMounts: "127.0.0.1:1/org/mounts" });
    expect(made).toHaveLength(1);
    expect(notices.map((one) => one.replace(/: tried.*/, ""))).toEqual([
      "cache mounts of 127.0.0.1:1/org/mounts are not used",
      "cache mounts of 127.0.0.1:1/org/mounts are not written",
    ]);
  });
});

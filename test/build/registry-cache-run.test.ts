import { utimes } from "node:fs/promises";
import { join } from "node:path";
import { expect, test } from "vitest";
import { busyboxBase, pushBase } from "../support/bases.js";
import { startRegistry } from "../support/services.js";
import { startTap } from "../support/tap.js";
import { lacksBuild } from "../support/tools-cli.js";
import { describeUnless } from "../support/tools-suite.js";
import { lacksTools, mustRun } from "../support/tools.js";
import { machines } from "./caching.js";

const textFor = (base: string): string =>
  [
    `FROM ${base} AS tools`,
    "WORKDIR /src",
    "COPY a b ./",
    "RUN cat a b > both && echo made",
    `FROM ${base}`,
    ...Array.from({ length: 12 }, (_, at) => `RUN echo ${at} > /file-${at}`),
    "COPY --from=tools /src/both /both",
    'RUN test "$(cat /both)" = ab',
    "",
  ].join("\n");

describeUnless(
  [lacksTools("docker-registry", "skopeo", "busybox"), lacksBuild()],
  "a registry's cache",
  () => {
    test("answers for all steps of an empty machine: no layer is downloaded, over four connections at most", async () => {
      await using registry = await startRegistry();
      await using tap = await startTap(registry);
      const base = await pushBase(await busyboxBase(), registry, "library/busybox:latest");
      const text = textFor(base.replace(registry.host, tap.host));
      const { build, context, copyContext, path } = await machines();
      const options = {
        destinations: [`${tap.host}/org/app:1`],
        registryCache: { copyLayers: true },
      };
      const first = await build("one", text, options);
      expect(first.notices).toEqual([]);

      for (const change of ["touched", "cloned"]) {
        if (change === "cloned") await copyContext();
        for (const name of ["a", "b"]) await utimes(join(context, name), 7, 7);
        const [before, opened] = [(await registry.requests()).length, tap.opened()];
        const second = await build(change, text, options);
        expect(second.made).toEqual([]);
        expect(second.result.image).toEqual(first.result.image);
        const asked = (await registry.requests()).slice(before);
        // The configuration of the base: its manifest does not say what it is.
        expect(asked.filter((one) => /^GET \S+\/blobs\//.test(one))).toHaveLength(1);
        expect(asked.filter((one) => /^(PUT|POST|PATCH)/.test(one))).toEqual([]);
        expect(asked.filter((one) => one.endsWith(" 404"))).toEqual([]);
        expect(tap.opened() - opened).toBeLessThanOrEqual(4);
      }

      // Anybody's tools read what is there.
      const list = await mustRun("skopeo", [
        "list-tags",
        "--tls-verify=false",
        `docker://${registry.host}/org/app/cache`,
      ]);
      const { Tags: tags } = JSON.parse(list) as { Tags: readonly string[] };
      expect(tags.length).toBeGreaterThanOrEqual(17);
      for (const tag of tags.slice(0, 2)) {
        const from = `docker://${registry.host}/org/app/cache:${tag}`;
        await mustRun("skopeo", ["copy", "--src-tls-verify=false", from, `oci:${path}/${tag}`]);
      }
    });

    test("gives a later step the files of the layers before it", async () => {
      await using registry = await startRegistry();
      const base = await pushBase(await busyboxBase(), registry, "library/busybox:latest");
      const { build } = await machines();
      const repository = `${registry.host}/org/cache`;
      const registryCache = { repository };
      const text = `FROM ${base}\nRUN echo one > /one\n`;
      await build("one", text, { registryCache });
      const { cached, made, notices } = await build("two", `${text}RUN grep one /one\n`, {
        registryCache,
      });
      expect([cached, made, notices]).toEqual([["RUN echo one > /one"], ["RUN grep one /one"], []]);
    });
  },
);

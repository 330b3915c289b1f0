/** Archives that mean harm, through ADD and as layers of a base image, in every way that roots are made. */
import { readFile } from "node:fs/promises";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { readLayout } from "../support/tools-images.js";
import { findTool, lacksRoot, lacksTools } from "../support/tools.js";
import { lacksBuild } from "../support/tools-cli.js";
import { describeUnless, expectCode } from "../support/tools-suite.js";
import { lacksUsers } from "../support/users.js";
import { containedCases, REFUSED, type Contained } from "./cases.js";
import { DRIVERS, expectOneLine, openPlace, type Place } from "./support.js";
import { compressed, COMPRESSIONS } from "./tar.js";

const LACKS = [lacksRoot(), lacksUsers(), lacksTools("busybox", "xz", "zstd"), lacksBuild()];

/** A step that fails with the case's name. */
function checkLine({ name, check }: Contained, root: string): string {
  return `RUN R=${root}; (${check}) || { echo "got out, or is not there: ${name}"; ls -la $R/; exit 1; }`;
}

describeUnless(LACKS, "crafted archives", () => {
  let place: Place;
  let byAdd: readonly Contained[];
  let byLayer: readonly Contained[];

  beforeAll(async () => {
    place = await openPlace();
    const cases = containedCases(await readFile(findTool("busybox") ?? ""));
    byAdd = cases.filter(({ only }) => only !== "layer");
    byLayer = cases.filter(({ only }) => only !== "add");
  });
  afterAll(async () => {
    await place.expectNothingEscaped();
    await place[Symbol.asyncDispose]();
  });

  describe("through ADD", () => {
    test.each(DRIVERS)("are contained (%s)", async (driver) => {
      const base = await place.base("small");
      const files = Object.fromEntries(byAdd.map(({ tar }, i) => [`${i}.tar`, tar]));
      const lines = [
        "FROM small",
        ...byAdd.flatMap((one, i) => [`ADD ${i}.tar /d/${i}/`, checkLine(one, `/d/${i}`)]),
      ];
      const context = await place.context(`add-${idOf(driver)}`, {
        ...files,
        Dockerfile: `${lines.join("\n")}\n`,
      });
      const flags = ["--build-context", `small=oci-layout://${base}`];
      expectCode(await place.build(context, { driver, flags }), 0);
      await place.expectNothingEscaped();
    });

    test("make the same layers however they are compressed", async () => {
      const layers: (readonly string[])[] = [];
      for (const by of COMPRESSIONS) {
        const files = Object.fromEntries(
          byAdd.map(({ tar }, i) => [`${i}.tar`, compressed(tar, by)]),
        );
        const adds = byAdd.map((_, i) => `ADD ${i}.tar /d/${i}/`);
        const context = await place.context(`add-${by}`, {
          ...files,
          Dockerfile: `FROM scratch\n${adds.join("\n")}\n`,
        });
        const outcome = await place.build(context, { flags: ["--reproducible"] });
        expectCode(outcome, 0);
        layers.push((await readLayout(outcome.layout)).config.rootfs.diff_ids);
      }
      expect(layers[0]).toHaveLength(byAdd.length);
      for (const other of layers.slice(1)) expect(other).toEqual(layers[0]);
    });

    test.each(REFUSED.filter(({ only }) => only !== "layer"))(
      "are refused in one line: $name",
      async ({ name, tar, says }) => {
        for (const by of COMPRESSIONS) {
          const context = await place.context(`refused-${by}-${idOf(name)}`, {
            "x.tar": compressed(tar, by),
            Dockerfile: "FROM scratch\nADD x.tar /d/\n",
          });
          expectFirstLine(await place.fails(context), says);
        }
      },
    );
  });

  describe.each(DRIVERS)("as layers of a base (%s)", (driver) => {
    test("are contained", async () => {
      const flags: string[] = [];
      const lines: string[] = [];
      for (const [i, one] of byLayer.entries()) {
        const base = await place.base(`contained-${idOf(driver)}-${i}`, one.tar);
        flags.push("--build-context", `c${i}=oci-layout://${base}`);
        lines.push(`FROM c${i} AS s${i}`, checkLine(one, ""), `RUN touch /done-${i}`);
      }
      lines.push("FROM scratch", ...byLayer.map((_, i) => `COPY --from=s${i} /done-${i} /`));
      const context = await place.context(`layers-${idOf(driver)}`, {
        Dockerfile: `${lines.join("\n")}\n`,
      });
      expectCode(await place.build(context, { driver, flags }), 0);
      await place.expectNothingEscaped();
    });
  });

  describe.each(["overlay", "plain"] as const)("as layers of a base (root, %s)", (driver) => {
    test.each(ofLayers(REFUSED))("are refused in one line: $name", async ({ name, tar, says }) => {
      const id = `${driver}-${idOf(name)}`;
      const base = await place.base(id, tar);
      const context = await place.context(id, { Dockerfile: 'FROM bad\nRUN ["true"]\n' });
      const buildContexts = { bad: `oci-layout://${base}` };
      expectFirstLine(await place.fails(context, { driver, buildContexts }), says);
    });
  });

  /** The same code unpacks for a user: a few, with the command's own words. */
  test("the command says it in one line, to a user too", async () => {
    for (const { name, tar, says } of ofLayers(REFUSED).slice(0, 4)) {
      const id = `user-${idOf(name)}`;
      const base = await place.base(id, tar);
      const context = await place.context(id, { Dockerfile: 'FROM bad\nRUN ["true"]\n' });
      const flags = ["--build-context", `bad=oci-layout://${base}`];
      expectOneLine(await place.build(context, { driver: "user, overlay", flags }), says);
    }
  });
});

function ofLayers(cases: typeof REFUSED): typeof REFUSED {
  return cases.filter(({ only }) => only !== "add");
}

/** The place in the Dockerfile is shown below it. */
function expectFirstLine(error: Error, says: RegExp): void {
  expect(error.message.split("\n")[0]).toMatch(says);
}

function idOf(name: string): string {
  return name.replaceAll(/\W+/g, "-");
}

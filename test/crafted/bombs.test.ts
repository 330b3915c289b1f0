/** Ten gigabytes in ten megabytes, and a million entries: memory stays small, and a full disk is said to be one. */
import { mkdir, readFile } from "node:fs/promises";
import { join } from "node:path";
import { afterAll, beforeAll, expect, test } from "vitest";
import { builder, errorLines, lacksBuild, stackLines } from "../support/tools-cli.js";
import { lacksRoot, lacksTools, run } from "../support/tools.js";
import { describeUnless, expectCode } from "../support/tools-suite.js";
import { lacksUsers } from "../support/users.js";
import { bombSize, entryBomb, fileBomb, GB, writeBomb, writeBombLayout } from "./bombs.js";
import { watchMemory } from "./memory.js";
import { type Driver, openPlace, type Place } from "./support.js";

/** The whole of it takes minutes: `TSBUILD_TEST_FULL=1`. */
const FULL = process.env["TSBUILD_TEST_FULL"] === "1";
const ZEROS = FULL ? 10 * GB : GB;
const ENTRIES = FULL ? 1_000_000 : 200_000;
/** MiB, of the largest process. A million entries through ADD take 151. */
const LIMIT = FULL ? 160 : 150;
/** Two of them are indexed at a time. */
const LAYER = FULL ? 300_000 : 100_000;
const TIMEOUT = FULL ? 1_800_000 : 600_000;

const LACKS = [lacksRoot(), lacksUsers(), lacksTools("busybox", "unshare", "mount"), lacksBuild()];

describeUnless(LACKS, "bombs", () => {
  let place: Place;
  beforeAll(async () => {
    place = await openPlace();
  });
  afterAll(async () => {
    await place[Symbol.asyncDispose]();
  });

  /** Builds it, and says how much memory that took. */
  const measured = async (
    context: string,
    flags: readonly string[] = [],
    driver: Driver = "root, overlay",
  ): Promise<number> => {
    using watch = watchMemory();
    const { onStart } = watch;
    expectCode(await place.build(context, { flags, onStart, driver, timeoutMs: TIMEOUT }), 0);
    console.info(`${expect.getState().currentTestName}: ${Math.round(watch.peak())} MiB`);
    return watch.peak();
  };

  test(`${ZEROS / GB} GB of zeros through ADD`, { timeout: TIMEOUT }, async () => {
    const context = await place.context("zeros", {
      Dockerfile: "FROM scratch\nADD zeros.tar.gz /d/\n",
    });
    await writeBomb(join(context, "zeros.tar.gz"), fileBomb("zeros", ZEROS, 0));
    expect(await measured(context)).toBeLessThan(LIMIT);
  });

  test(`${ZEROS / GB} GB of zeros in a base`, { timeout: TIMEOUT }, async () => {
    const base = join(place.path, "bases", "zeros");
    await writeBombLayout(base, fileBomb("zeros", ZEROS, 0));
    const context = await place.context("zeros-base", {
      Dockerfile: `FROM zeros\nRUN [ "$(stat -c %s /zeros)" = ${bombSize(ZEROS)} ]\n`,
    });
    const flags = ["--build-context", `zeros=oci-layout://${base}`];
    expect(await measured(context, flags)).toBeLessThan(LIMIT);
  });

  test(`${ENTRIES} entries through ADD`, { timeout: TIMEOUT }, async () => {
    const context = await place.context("many", {
      Dockerfile: "FROM scratch\nADD many.tar.gz /d/\n",
    });
    await writeBomb(join(context, "many.tar.gz"), entryBomb(ENTRIES));
    expect(await measured(context)).toBeLessThan(LIMIT);
  });

  test(`${ENTRIES} entries in a base`, { timeout: TIMEOUT }, async () => {
    const base = join(place.path, "bases", "many");
    await writeBombLayout(base, entryBomb(ENTRIES));
    const context = await place.context("many-base", {
      Dockerfile: "FROM many\nRUN echo > /new\nCOPY Dockerfile /many/\n",
    });
    const flags = ["--build-context", `many=oci-layout://${base}`];
    expect(await measured(context, flags)).toBeLessThan(LIMIT);
  });

  test(`${3 * LAYER} entries in the layers of a base`, { timeout: TIMEOUT }, async () => {
    const base = join(place.path, "bases", "layers");
    // Of what is in files, buffers come and go while entries are looked at.
    const layers = ["a", "b", "c"].map((top) => entryBomb(LAYER, { top, data: "x".repeat(400) }));
    await writeBombLayout(base, ...layers);
    const context = await place.context("layers-base", {
      Dockerfile: "FROM layers\nRUN echo > /new\n",
    });
    const flags = ["--build-context", `layers=oci-layout://${base}`];
    expect(await measured(context, flags)).toBeLessThan(LIMIT);
  });

  test.each<Driver>(["root, overlay", "root, plain"])(
    `${ENTRIES} files of a RUN: %s`,
    { timeout: TIMEOUT },
    async (driver) => {
      const base = await place.base(`run-${driver.slice(6)}`);
      const context = await place.context("many-run", {
        Dockerfile: `FROM small
RUN for d in $(seq ${ENTRIES / 1_000}); do \\
  mkdir -p /many/$d; for f in $(seq 1000); do : >/many/$d/file-$f; done; done
`,
      });
      const flags = ["--build-context", `small=oci-layout://${base}`];
      expect(await measured(context, flags, driver)).toBeLessThan(LIMIT);
    },
  );

  /** In a mount namespace of its own: whatever happens here, no mount is left. */
  const onSmallStore = async (name: string, lines: string, flags: readonly string[]) => {
    const home = join(place.path, name);
    const store = join(home, "store");
    await mkdir(store, { recursive: true });
    const bomb = await place.context(name, { Dockerfile: lines });
    if (lines.includes("ADD")) {
      await writeBomb(join(bomb, "bomb.tar.gz"), fileBomb("large", GB, 0x41));
    }
    const small = await place.context(`${name}-small`, {
      Dockerfile: 'FROM small\nRUN ["true"]\nCOPY Dockerfile /\n',
    });
    const smallBase = await place.base("small");
    const command = (context: string, more: readonly string[]): string =>
      builder({ store })
        .argv(["--context", context, "--no-push", "--driver=overlay", ...more])
        .map((word) => `'${word}'`)
        .join(" ");
    const script = `mount -t tmpfs -o size=64m tsbuild-test ${store} || exit 90
${command(bomb, flags)} >${home}/out 2>${home}/err; echo $? >${home}/code
find ${store}/staging ${store}/layers ${store}/indexes -mindepth 1 -maxdepth 2 >${home}/left
${command(small, ["--build-context", `small=oci-layout://${smallBase}`])} 2>&1`;
    const outcome = await run("unshare", ["-m", "sh", "-c", script]);
    const text = (file: string): Promise<string> => readFile(join(home, file), "utf8");
    const failed = {
      code: Number(await text("code")),
      signal: null,
      stdout: await text("out"),
      stderr: await text("err"),
    };
    return {
      failed,
      left: (await text("left")).split("\n").filter((line) => line !== ""),
      outcome,
    };
  };

  test.each(["ADD", "a base", "RUN"])(
    "a full disk is one clear error, and the store stays usable: %s",
    async (what) => {
      const name = `full-${what.replace(" ", "-")}`;
      const base = join(place.path, "bases", name);
      if (what === "a base") await writeBombLayout(base, fileBomb("large", GB, 0x41));
      else await writeBombLayout(base, fileBomb("little", 1, 0));
      const lines = {
        ADD: "FROM scratch\nADD bomb.tar.gz /\n",
        "a base": "FROM bomb\nRUN true\n",
        // What RUN writes is in the way of what is packed.
        RUN: "FROM bomb\nRUN head -c 40000000 /dev/urandom >/large\n",
      }[what];
      const flags = ["--build-context", `bomb=oci-layout://${base}`];
      const { failed, left, outcome } = await onSmallStore(name, String(lines), flags);
      expect(failed.code, failed.stdout + failed.stderr).toBe(74);
      expect(stackLines(failed)).toEqual([]);
      expect(errorLines(failed)).toHaveLength(1);
      expect(errorLines(failed)[0]).toMatch(/ENOSPC/);
      expect(failed.stderr).toContain(join(place.path, name, "store"));
      expect(failed.stderr).toMatch(/free space .*--store/);
      expect(left.filter((path) => path.includes("/staging/"))).toEqual([]);
      for (const path of left.filter((one) => one.includes("/layers/")))
        expect(path).toMatch(/\/layers\/[^/]+(\/[0-9a-f]{64}(\.used)?)?$/);
      expectCode(outcome, 0);
    },
  );
});

import { cp, mkdir, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { afterAll, beforeAll, expect, test } from "vitest";
import { debianBase } from "../support/bases.js";
import { IN_PLACE_COMMAND, inPlaceRoot, lacksInPlaceHome } from "../support/in-place-home.js";
import { podContext, type ContextName } from "../support/pod-contexts.js";
import { loadImage } from "../support/pod-images.js";
import { contentOf, WORKLOAD_SECRET, writeWorkload } from "../support/pod-workload.js";
import type { PodHost } from "../support/pods-host.js";
import { lacksPods } from "../support/pods-root.js";
import { runInPod, startPods } from "../support/pods.js";
import { CHECKOUT, lacksBuild } from "../support/tools-cli.js";
import { readLayout } from "../support/tools-images.js";
import { lacksTools, mustRun, run, tempDir, type Outcome, type TempDir } from "../support/tools.js";
import { describeUnless, expectCode } from "../support/tools-suite.js";

const IMAGE = "localhost/tsbuild-test/in-place:latest";
/** Docker's and containerd's profile: no namespaces, no mounts; and the same where the Pod's root is nobody outside. */
const CONTEXTS: readonly ContextName[] =
  process.env["TSBUILD_TEST_PODS"] === "all"
    ? ["runtime-default", "own-users-runtime-default"]
    : ["runtime-default"];
const SETUP_MS = 600_000;
const BUILD_MS = 300_000;

describeUnless(
  [lacksPods(), lacksTools("mmdebstrap", "dpkg-deb"), lacksBuild(), lacksInPlaceHome()],
  "a build in a Pod that allows no namespaces",
  () => {
    let dir: TempDir;
    let host: PodHost;
    let baseLayers = 0;
    let expected: Record<string, string>;

    beforeAll(async () => {
      dir = await tempDir();
      await mustRun("chmod", ["755", dir.path]);
      await cp(await debianBase(), join(dir.path, "base"), { recursive: true });
      baseLayers = (await readLayout(join(dir.path, "base"))).layers.length;
      await writeWorkload(join(dir.path, "context"), "base");
      await writeFile(join(dir.path, "token"), WORKLOAD_SECRET);
      await buildImage();
      host = await startPods({ checkout: CHECKOUT, app: false, writable: [dir.path] });
      await loadImage(host, join(dir.path, "builder"), IMAGE);
      const built = await tsbuild([...flags(dir.path, "host"), "--driver=plain"]);
      expectCode(built, 0);
      expected = await content("host");
    }, SETUP_MS);
    afterAll(async () => {
      await host?.[Symbol.asyncDispose]();
      await dir?.[Symbol.asyncDispose]();
    });

    const flags = (at: string, output: string): readonly string[] => [
      `--context=${at}/context`,
      `--build-context=base=oci-layout://${at}/base`,
      `--secret=id=token,src=${at}/token`,
      "--no-push",
      `--oci-layout-path=${at}/${output}`,
    ];
    const tsbuild = (args: readonly string[]): Promise<Outcome> =>
      run(process.execPath, [
        join(CHECKOUT, "bin/tsbuild.js"),
        `--store=${join(dir.path, "store")}`,
        ...args,
      ]);

    async function buildImage(): Promise<void> {
      const root = await inPlaceRoot(dir.path, CHECKOUT);
      const entrypoint = JSON.stringify(IN_PLACE_COMMAND);
      const text = `FROM scratch\nCOPY . /\nENV HOME=/root\nENTRYPOINT ${entrypoint}\n`;
      await writeFile(join(dir.path, "builder.dockerfile"), text);
      const built = await tsbuild([
        `--context=${root}`,
        `--dockerfile=${join(dir.path, "builder.dockerfile")}`,
        "--no-push",
        "--compression-level=1",
        `--oci-layout-path=${join(dir.path, "builder")}`,
      ]);
      expectCode(built, 0);
    }

    async function content(output: string): Promise<Record<string, string>> {
      return contentOf(await readLayout(join(dir.path, output)), baseLayers);
    }

    test.each(CONTEXTS)(
      "%s: makes what a build on the machine makes, in the container's own /",
      async (name) => {
        await mkdir(join(dir.path, "results", name), { recursive: true });
        await mustRun("chmod", ["-R", "777", join(dir.path, "results")]);
        const outcome = await runInPod(host, {
          context: podContext(name),
          image: IMAGE,
          // No driver is named: it is what is left.
          args: [...flags("/mounted", `results/${name}/image`), "--store=/kaniko/store"],
          volumes: [{ kind: "host", path: "/mounted", source: dir.path }],
        });
        expectCode(outcome, 0);
        expect(outcome.stderr).toContain("in the container's own /");
        expect(await content(`results/${name}/image`)).toEqual(expected);
      },
      BUILD_MS,
    );
  },
);

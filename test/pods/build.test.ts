import { mkdir, readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { afterAll, beforeAll, expect, test } from "vitest";
import { debianBase } from "../support/bases.js";
import { CONTEXT_NAMES, podContext, type ContextName } from "../support/pod-contexts.js";
import { executorImage } from "../support/executor-image.js";
import { loadImage } from "../support/pod-images.js";
import type { PodVolume } from "../support/pod-request.js";
import { contentOf, WORKLOAD_SECRET, writeWorkload } from "../support/pod-workload.js";
import { runInPod, startPods } from "../support/pods.js";
import { lacksPods } from "../support/pods-root.js";
import type { PodHost } from "../support/pods-host.js";
import { startRegistry, type RegistryService } from "../support/services.js";
import { CHECKOUT, lacksBuild, plainEnvironment } from "../support/tools-cli.js";
import { copyToLayout, readLayout } from "../support/tools-images.js";
import { lacksTools, mustRun, run, tempDir, type Outcome, type TempDir } from "../support/tools.js";
import { describeUnless, expectCode } from "../support/tools-suite.js";

/** What a build ends with in each context: all rows share one workload and one expected content. */
const EXPECTED: Readonly<Record<ContextName, "builds" | "builds below proot">> = {
  default: "builds",
  "no-new-privileges": "builds",
  "runtime-default": "builds",
  "cri-o": "builds",
  "cri-o-runtime-default": "builds",
  "own-users": "builds",
  "own-users-runtime-default": "builds",
  "own-users-unmasked": "builds",
  restricted: "builds below proot",
  "restricted-cri-o": "builds below proot",
  "restricted-unconfined": "builds below proot",
  "restricted-read-only": "builds below proot",
  openshift: "builds below proot",
  "non-root": "builds",
  "read-only": "builds",
  "memory-volume": "builds",
  "no-volume": "builds",
  "sys-admin": "builds",
  privileged: "builds",
};

/** What `su` has another user write: below proot it is the step's own. */
const WRITTEN_BY_OTHERS = "var/lib/tsbuild-probe/owner";

/** Every context takes its time, so a usual run has one for each driver and one with a large user id; TSBUILD_TEST_PODS=all runs the others too. */
const ALWAYS: readonly ContextName[] = ["default", "runtime-default", "restricted", "openshift"];
const CHOSEN = process.env["TSBUILD_TEST_PODS"] === "all" ? CONTEXT_NAMES : ALWAYS;
const EXECUTOR = "localhost/tsbuild-test/executor:latest";
/** The first run makes a Debian, an image and a store for podman; later ones take a second. */
const SETUP_MS = 600_000;
const BUILD_MS = 300_000;
const ACCOUNT = { username: "pod", password: "pod: s3cret" };
const TOOLS = ["docker-registry", "htpasswd", "openssl", "skopeo", "mmdebstrap", "dpkg-deb"];

describeUnless([lacksPods(), lacksTools(...TOOLS), lacksBuild()], "a build in a Pod", () => {
  let dir: TempDir;
  let registry: RegistryService;
  let host: PodHost;
  let expected: Record<string, string>;
  let baseLayers = 0;
  const creds = `${ACCOUNT.username}:${ACCOUNT.password}`;

  beforeAll(async () => {
    dir = await tempDir();
    registry = await startRegistry({ tls: true, htpasswd: ACCOUNT });
    const base = `${registry.host}/library/debian:latest`;
    const layout = await debianBase();
    const flags = ["--quiet", ...registry.skopeoFlags("dest"), "--dest-creds", creds];
    await mustRun("skopeo", ["copy", ...flags, `oci:${layout}:latest`, `docker://${base}`]);
    baseLayers = (await readLayout(layout)).layers.length;
    await writeWorkload(join(dir.path, "context"), base);
    await writeFile(join(dir.path, "token"), WORKLOAD_SECRET);
    host = await startPods({ checkout: CHECKOUT, app: false, writable: [dir.path] });
    await loadImage(host, await executorImage(CHECKOUT), EXECUTOR);
    expectCode(await buildOnHost(), 0);
    expected = await pushedContent("host");
  }, SETUP_MS);
  afterAll(async () => {
    await host?.[Symbol.asyncDispose]();
    await registry?.[Symbol.asyncDispose]();
    await dir?.[Symbol.asyncDispose]();
  });

  const destination = (name: string): string => `${registry.host}/built/${name}:latest`;

  async function buildOnHost(): Promise<Outcome> {
    const config = await registry.dockerConfig(ACCOUNT);
    const env = { DOCKER_CONFIG: config, SSL_CERT_FILE: String(registry.caFile) };
    return run(
      process.execPath,
      [
        join(CHECKOUT, "bin/tsbuild.js"),
        `--context=${join(dir.path, "context")}`,
        `--destination=${destination("host")}`,
        `--secret=id=token,src=${join(dir.path, "token")}`,
        `--store=${join(dir.path, "store")}`,
      ],
      { env: plainEnvironment(env) },
    );
  }

  async function pushedContent(name: string): Promise<Record<string, string>> {
    const layout = join(dir.path, `pulled-${name}`);
    const flags = [...registry.skopeoFlags("src"), "--src-creds", creds];
    await copyToLayout(`docker://${destination(name)}`, layout, flags);
    return contentOf(await readLayout(layout), baseLayers);
  }

  async function buildInPod(name: ContextName): Promise<Outcome> {
    const login = join(await registry.dockerConfig(ACCOUNT), "config.json");
    const secret = async (path: string, file: string, source: string): Promise<PodVolume> => ({
      kind: "secret",
      path,
      files: { [file]: await readFile(source, "utf8") },
    });
    return runInPod(host, {
      context: podContext(name),
      image: EXECUTOR,
      args: [
        "--context=/source",
        `--destination=${destination(name)}`,
        "--secret=id=token,src=/secrets/token",
        "--digest-file=/results/digest",
        // Overlay needs a volume below it: on the container's own root, an overlay too, the kernel refuses it.
        ...podContext(name)
          .emptyDirs.slice(0, 1)
          .map(({ path }) => `--store=${path}/store`),
      ],
      env: { SSL_CERT_FILE: "/certificates/ca.crt" },
      volumes: [
        { kind: "host", path: "/source", source: join(dir.path, "context"), readOnly: true },
        { kind: "host", path: "/results", source: await results(name) },
        await secret("/kaniko/.docker", "config.json", login),
        await secret("/certificates", "ca.crt", String(registry.caFile)),
        await secret("/secrets", "token", join(dir.path, "token")),
      ],
    });
  }

  async function results(name: string): Promise<string> {
    const path = join(dir.path, `results-${name}`);
    await mkdir(path);
    await mustRun("chmod", ["777", path]);
    return path;
  }

  test.each(CHOSEN)(
    "%s: pushes the image that a build on the host pushes",
    async (name) => {
      expectCode(await buildInPod(name), 0);
      const pushed = await pushedContent(name);
      if (EXPECTED[name] === "builds") expect(pushed).toEqual(expected);
      else expect(pushed).toEqual(ownedByRoot(expected, WRITTEN_BY_OTHERS));
      const digest = await readFile(join(dir.path, `results-${name}`, "digest"), "utf8");
      expect(digest).toMatch(/^sha256:[0-9a-f]{64}$/);
    },
    BUILD_MS,
  );
});

function ownedByRoot(content: Record<string, string>, path: string): Record<string, string> {
  const [type, mode, , ...rest] = (content[path] ?? "").split(" ");
  return { ...content, [path]: [type, mode, "0:0", ...rest].join(" ") };
}

import { mkdir, readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { afterAll, beforeAll, expect, test } from "vitest";
import { debianBase } from "../support/bases.js";
import { CONTEXT_NAMES, podContext, type ContextName } from "../support/pod-contexts.js";
import { APP_IMAGE } from "../support/pod-images.js";
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

/**
 * What a build ends with in each context today. Whoever makes one of the refused contexts work turns its row into
 * "builds"; nothing else changes, since all rows share one workload and one expected content.
 */
const EXPECTED: Readonly<Record<ContextName, "builds" | "builds below proot" | Refusal>> = {
  default: "builds",
  "no-new-privileges": "builds",
  "runtime-default": refused(/no driver fits this host: .*unshare failed: Operation not permitted/),
  "cri-o": refused(/no driver fits this host: .*write the id map of a user namespace: EPERM/),
  "cri-o-runtime-default": refused(/no driver fits this host: .*Function not implemented/),
  "own-users": "builds",
  "own-users-runtime-default": refused(/no driver fits this host: .*Operation not permitted/),
  "own-users-unmasked": "builds",
  restricted: "builds below proot",
  "restricted-cri-o": refused(/no driver fits this host: .*Function not implemented/),
  // One id only: which of two steps that run side by side fails first is chance.
  "restricted-unconfined": refused(/did not complete successfully/, [1, 100]),
  "restricted-read-only": "builds below proot",
  openshift: refused(/no driver fits this host: .*Function not implemented/),
  "non-root": refused(/did not complete successfully/, [1, 100]),
  "read-only": "builds",
  "memory-volume": "builds",
  "no-volume": "builds",
  "sys-admin": "builds",
  privileged: "builds",
};

/** What `su` has another user write: below proot it is the step's own. */
const WRITTEN_BY_OTHERS = "var/lib/tsbuild-probe/owner";

interface Refusal {
  readonly codes: readonly (number | null)[];
  readonly message: RegExp;
}

/** 69 is "no driver fits". */
function refused(message: RegExp, codes: readonly number[] = [69]): Refusal {
  return { codes, message };
}

/** Every context takes its time, so a usual run has those that CI must have; TSBUILD_TEST_PODS=all runs the others too. */
const ALWAYS: readonly ContextName[] = ["default", "runtime-default", "restricted"];
const CHOSEN = process.env["TSBUILD_TEST_PODS"] === "all" ? CONTEXT_NAMES : ALWAYS;
/** The first run makes a Debian, an image and a store for podman; later ones take a second. */
const SETUP_MS = 600_000;
const BUILD_MS = 180_000;
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
    host = await startPods({ checkout: CHECKOUT, app: true, writable: [dir.path] });
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
      image: APP_IMAGE,
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

  for (const name of CHOSEN) {
    const wanted = EXPECTED[name];
    if (typeof wanted === "string") {
      test(
        `${name}: pushes the image that a build on the host pushes`,
        async () => {
          expectCode(await buildInPod(name), 0);
          const pushed = await pushedContent(name);
          if (wanted === "builds") expect(pushed).toEqual(expected);
          else expect(pushed).toEqual(ownedByRoot(expected, WRITTEN_BY_OTHERS));
          const digest = await readFile(join(dir.path, `results-${name}`, "digest"), "utf8");
          expect(digest).toMatch(/^sha256:[0-9a-f]{64}$/);
        },
        BUILD_MS,
      );
    } else {
      test(
        `${name}: is refused with the reason, and nothing is pushed`,
        async () => {
          const outcome = await buildInPod(name);
          expect(wanted.codes, outcome.stderr.slice(-4_000)).toContain(outcome.code);
          expect(outcome.stderr).toMatch(wanted.message);
          await expect(pushedContent(name)).rejects.toThrow();
        },
        BUILD_MS,
      );
    }
  }
});

function ownedByRoot(content: Record<string, string>, path: string): Record<string, string> {
  const [type, mode, , ...rest] = (content[path] ?? "").split(" ");
  return { ...content, [path]: [type, mode, "0:0", ...rest].join(" ") };
}

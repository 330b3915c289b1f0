import { copyFile, mkdir, readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { afterAll, beforeAll, expect, test } from "vitest";
import { busyboxBase } from "../support/bases.js";
import { executorImage } from "../support/executor-image.js";
import { podContext, type ContextName } from "../support/pod-contexts.js";
import { loadImage } from "../support/pod-images.js";
import { runInPod, startPods } from "../support/pods.js";
import { lacksPods } from "../support/pods-root.js";
import type { PodHost } from "../support/pods-host.js";
import { CHECKOUT, lacksBuild } from "../support/tools-cli.js";
import { lacksTools, mustRun, tempDir, type Outcome, type TempDir } from "../support/tools.js";
import { describeUnless, expectCode } from "../support/tools-suite.js";

/** A Pod that gives the driver, by the name of its column in docs/security.md. */
const DRIVERS: Readonly<
  Record<string, { readonly context: ContextName; readonly driver: string }>
> = {
  overlay: { context: "default", driver: "overlay" },
  plain: { context: "default", driver: "plain" },
  shifted: { context: "cri-o", driver: "overlay" },
  "single-id": { context: "restricted-unconfined", driver: "single-id-overlay" },
  "in-place": { context: "runtime-default", driver: "in-place" },
  proot: { context: "restricted", driver: "proot" },
};
const CHOSEN =
  process.env["TSBUILD_TEST_PODS"] === "all"
    ? Object.keys(DRIVERS)
    : ["overlay", "in-place", "proot"];

/** In the order of the table's rows. */
const ATTACKS = [
  "login",
  "token",
  "environment",
  "memory",
  "files",
  "descriptors",
  "signal",
  "builder",
  "daemon",
  "secret",
  "links",
  "cache",
  "store",
];

/** The secret first: the victim has it for some seconds only. */
const AT_ONCE = [
  "secret 20",
  ...ATTACKS.filter((name) => !["secret", "daemon", "cache"].includes(name)),
  "stay",
  "stayed",
];
const LATER = ["secret 1", "cache"];

/**
 * The first two stages run at the same time, where the driver lets them; the third when the victim is done. The victim's
 * step has what the others look for.
 */
const DOCKERFILE = `FROM busybox AS victim
RUN --mount=type=secret,id=other --mount=type=cache,target=/cache,id=victim \\
    grep -q marker-secret /run/secrets/other && touch /cache/marker-cache-file && sleep 8
FROM busybox AS attacker
COPY attack.sh /attack.sh
${steps(AT_ONCE)}
FROM busybox AS later
COPY --from=victim /etc/passwd /victim
COPY attack.sh /attack.sh
${steps(LATER)}
FROM scratch
COPY --from=attacker /attack.sh /attacker
COPY --from=later /attack.sh /later
`;

function steps(names: readonly string[]): string {
  return names.map((name) => `RUN sh /attack.sh ${name} || true`).join("\n");
}

const EXECUTOR = "localhost/tsbuild-test/executor:latest";
const SETUP_MS = 600_000;
const BUILD_MS = 300_000;
const MARKED_LOGIN = JSON.stringify({
  auths: { "registry.invalid": { auth: "bWFya2VyOmxvZ2lu" } },
  comment: "marker-login",
});

const lacks = [lacksPods(), lacksTools("mmdebstrap", "busybox"), lacksBuild()];
describeUnless(lacks, "what a hostile step is given", () => {
  let dir: TempDir;
  let host: PodHost;

  beforeAll(async () => {
    dir = await tempDir();
    const context = join(dir.path, "context");
    await mkdir(context);
    await writeFile(join(context, "Dockerfile"), DOCKERFILE);
    await copyFile(join(CHECKOUT, "test/support/attack.sh"), join(context, "attack.sh"));
    await mustRun("cp", ["-r", await busyboxBase(), join(dir.path, "base")]);
    await mustRun("chmod", ["-R", "u+rwX,go+rX", dir.path]);
    host = await startPods({ checkout: CHECKOUT, app: false, writable: [dir.path] });
    await loadImage(host, await executorImage(CHECKOUT), EXECUTOR);
  }, SETUP_MS);
  afterAll(async () => {
    await host?.[Symbol.asyncDispose]();
    await dir?.[Symbol.asyncDispose]();
  });

  function build(name: string, dockerfile = "Dockerfile"): Promise<Outcome> {
    const found = DRIVERS[name];
    if (found === undefined) throw new Error(`no driver ${name}`);
    const { context, driver } = found;
    return runInPod(host, {
      context: podContext(context),
      image: EXECUTOR,
      args: [
        "--context=/source",
        `--dockerfile=/source/${dockerfile}`,
        "--build-context=busybox=oci-layout:///base",
        "--secret=id=other,env=OTHER_SECRET",
        `--driver=${driver}`,
        "--store=/workspace/store",
        "--no-push",
      ],
      env: { OTHER_SECRET: "marker-secret", CI_TOKEN: "marker-environment" },
      volumes: [
        { kind: "host", path: "/source", source: join(dir.path, "context"), readOnly: true },
        { kind: "host", path: "/base", source: join(dir.path, "base"), readOnly: true },
        { kind: "secret", path: "/kaniko/.docker", files: { "config.json": MARKED_LOGIN } },
        {
          kind: "secret",
          path: "/var/run/secrets/kubernetes.io/serviceaccount",
          files: { token: "marker-token" },
        },
      ],
    });
  }

  test.each(CHOSEN)(
    "%s: is what docs/security.md says",
    async (name) => {
      const outcome = await build(name);
      expectCode(outcome, 0);
      const said = new Set(
        [...outcome.stderr.matchAll(/ATTACK (\w+): got/g)].map(([, attack]) => attack),
      );
      const seen = ATTACKS.map((attack) => `${attack}: ${said.has(attack) ? "no" : "yes"}`);
      expect(seen).toEqual(await documented(name));
      // The build's own messages hold none of it either.
      for (const marker of ["marker-login", "marker-token", "marker-environment"]) {
        expect(outcome.stdout + outcome.stderr).not.toContain(marker);
      }
    },
    BUILD_MS,
  );

  test(
    "a step that changes the builder's own files ends the build, and nothing is made",
    async () => {
      const text = "FROM busybox\nRUN echo >>/kaniko/tsbuild/dist/child.cjs\nRUN touch /later\n";
      await writeFile(join(dir.path, "context/Dockerfile.replace"), text);
      const outcome = await build("in-place", "Dockerfile.replace");
      expect(outcome.code, outcome.stderr).not.toBe(0);
      expect(outcome.stderr).toContain("it changed /kaniko/tsbuild/dist/child.cjs");
    },
    BUILD_MS,
  );
});

/** A column of the table: each row is headed by the attack's name in code. */
async function documented(driver: string): Promise<readonly string[]> {
  const text = await readFile(join(CHECKOUT, "docs/security.md"), "utf8");
  const rows = text
    .split("\n")
    .filter((line) => line.startsWith("| "))
    .map((line) => line.split("|").map((cell) => cell.trim()));
  const column = rows.find((row) => row.includes("`overlay`"))?.indexOf(`\`${driver}\``) ?? -1;
  return ATTACKS.map((attack) => {
    const row = rows.find(([, cell]) => cell?.startsWith(`\`${attack}\``));
    return `${attack}: ${row?.[column] ?? "not there"}`;
  });
}

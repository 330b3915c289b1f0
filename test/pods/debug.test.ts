import { cp, mkdir, readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { afterAll, beforeAll, expect, test } from "vitest";
import { busyboxBase } from "../support/bases.js";
import { debugImage } from "../support/executor-image.js";
import { podContext, type ContextName } from "../support/pod-contexts.js";
import { runByCrun } from "../support/pod-crun.js";
import { loadImage } from "../support/pod-images.js";
import type { PodHost } from "../support/pods-host.js";
import { lacksPods } from "../support/pods-root.js";
import { startPods } from "../support/pods.js";
import { CHECKOUT, lacksBuild } from "../support/tools-cli.js";
import { byPath, readLayout } from "../support/tools-images.js";
import { lacksTools, tempDir, type TempDir } from "../support/tools.js";
import { describeUnless, expectCode } from "../support/tools-suite.js";

const IMAGE = "localhost/tsbuild-test/debug:latest";
const SETUP_MS = 600_000;
const BUILD_MS = 300_000;

/** How GitLab's runner finds the shell of a job, for each of the job's scripts anew. */
const RUNNER = `if [ -x /usr/local/bin/bash ]; then
	exec /usr/local/bin/bash
elif [ -x /usr/bin/bash ]; then
	exec /usr/bin/bash
elif [ -x /bin/bash ]; then
	exec /bin/bash
elif [ -x /busybox/sh ]; then
	exec /busybox/sh
else
	echo shell not found
	exit 1
fi
`;

/** A job's script and what the runner puts around it: the build ends neither of them. */
const JOB = `set -eo pipefail
set +o noclobber
cd "$CI_PROJECT_DIR"
mkdir -p "$CI_PROJECT_DIR.tmp"
printf '%s\\n' "$CI_COMMIT_SHORT_SHA" | tee "$CI_PROJECT_DIR.tmp/name" >/dev/null
cat >Dockerfile <<END
FROM base
RUN echo "$(cat "$CI_PROJECT_DIR.tmp/name")" >/built
END
/kaniko/executor --context . --build-context "base=oci-layout://$CI_PROJECT_DIR/base" \\
  --no-push --oci-layout-path image --digest-file digest
grep -q '^sha256:[0-9a-f]\\{64\\}$' digest
git --version | awk '{ print $1 }'
find image -type f | xargs -n1 basename | sort | sed -n 's/^index.json$/found the index/p'
/busybox/sh -c 'echo "still here: $(ls /busybox | wc -l | tr -d " ")"'
`;

describeUnless(
  [lacksPods(), lacksTools("mmdebstrap", "busybox", "npm"), lacksBuild()],
  "a job of GitLab with the debug image",
  () => {
    let dir: TempDir;
    let host: PodHost;

    beforeAll(async () => {
      const image = await debugImage(CHECKOUT);
      dir = await tempDir();
      host = await startPods({ checkout: CHECKOUT, app: false, writable: [dir.path] });
      await loadImage(host, image, IMAGE);
    }, SETUP_MS);
    afterAll(async () => {
      await host?.[Symbol.asyncDispose]();
      await dir?.[Symbol.asyncDispose]();
    });

    // One builds in namespaces, one rewrites the container's own root.
    test.each<ContextName>(["default", "runtime-default"])(
      "%s: has a shell and its commands, before and after a build",
      async (name) => {
        const project = join(dir.path, name);
        await mkdir(project);
        await cp(await busyboxBase(), join(project, "base"), { recursive: true });
        await writeFile(join(project, "job"), JOB);
        const outcome = await runByCrun(host, {
          context: { ...podContext(name), emptyDirs: [] },
          image: IMAGE,
          command: ["sh", "-c", `exec <"$CI_PROJECT_DIR/job"\n${RUNNER}`],
          env: { CI_PROJECT_DIR: project, CI_COMMIT_SHORT_SHA: "abcdef12" },
          volumes: [{ kind: "host", path: project, source: project }],
        });
        expectCode(outcome, 0);
        expect(outcome.stdout).toMatch(/^git\nfound the index\nstill here: [1-9]\d\d$/m);
        const built = await readLayout(join(project, "image"));
        expect(await readFile(join(project, "digest"), "utf8")).toBe(built.digest);
        const files = byPath(built.layers.slice(1).flat());
        expect(files.get("built")?.data.toString()).toBe("abcdef12\n");
        expect([...files.keys()].filter((path) => /^(busybox|kaniko)/.test(path))).toEqual([]);
      },
      BUILD_MS,
    );
  },
);

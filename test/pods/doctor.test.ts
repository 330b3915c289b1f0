import { afterAll, beforeAll, expect, test } from "vitest";
import { executorImage } from "../support/executor-image.js";
import { CONTEXT_NAMES, podContext, type ContextName } from "../support/pod-contexts.js";
import { loadImage } from "../support/pod-images.js";
import { runInPod, startPods } from "../support/pods.js";
import { lacksPods } from "../support/pods-root.js";
import type { PodHost } from "../support/pods-host.js";
import { CHECKOUT, lacksBuild } from "../support/tools-cli.js";
import { lacksTools } from "../support/tools.js";
import { describeUnless, expectCode } from "../support/tools-suite.js";

/** The matrix of docs/pods.md: with the executor image, and nothing said of a store. */
const DRIVERS: Readonly<Record<ContextName, string>> = {
  default: "overlay",
  "no-new-privileges": "overlay",
  "runtime-default": "in-place",
  "cri-o": "overlay",
  "cri-o-runtime-default": "in-place",
  "own-users": "overlay",
  "own-users-runtime-default": "in-place",
  "own-users-unmasked": "overlay",
  restricted: "proot",
  "restricted-cri-o": "proot",
  "restricted-unconfined": "proot",
  "restricted-read-only": "proot",
  openshift: "proot",
  "non-root": "overlay",
  "read-only": "overlay",
  "memory-volume": "overlay",
  "no-volume": "overlay",
  "sys-admin": "overlay",
  privileged: "overlay",
};
const ALWAYS: readonly ContextName[] = ["default", "runtime-default", "restricted"];
const CHOSEN = process.env["TSBUILD_TEST_PODS"] === "all" ? CONTEXT_NAMES : ALWAYS;
const EXECUTOR = "localhost/tsbuild-test/executor:latest";
const SETUP_MS = 600_000;
const TEST_MS = 300_000;

const lacks = [lacksPods(), lacksTools("mmdebstrap"), lacksBuild()];
describeUnless(lacks, "the driver of the executor image in a Pod", () => {
  let host: PodHost;
  beforeAll(async () => {
    host = await startPods({ checkout: CHECKOUT, app: false });
    await loadImage(host, await executorImage(CHECKOUT), EXECUTOR);
  }, SETUP_MS);
  afterAll(() => host?.[Symbol.asyncDispose]());

  test.each(CHOSEN)(
    "%s: is the one of docs/pods.md",
    async (name) => {
      const args = ["doctor", "--format=json"];
      const outcome = await runInPod(host, { context: podContext(name), image: EXECUTOR, args });
      expectCode(outcome, 0);
      expect(JSON.parse(outcome.stdout)).toMatchObject({ driver: DRIVERS[name] });
    },
    TEST_MS,
  );
});

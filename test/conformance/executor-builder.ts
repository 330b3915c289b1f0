/** Builds each case with the executor image in a Pod. */
import { chmod, mkdir } from "node:fs/promises";
import { join } from "node:path";
import { executorImage } from "../support/executor-image.js";
import { podContext, type ContextName } from "../support/pod-contexts.js";
import { runByCrun } from "../support/pod-crun.js";
import { loadImage } from "../support/pod-images.js";
import { startPods } from "../support/pods.js";
import { removeTree, tempDir } from "../support/tools.js";
import type { CaseBuilder } from "./ways.js";

const EXECUTOR = "localhost/tsbuild-test/executor:latest";
const BUILD_TIMEOUT_MS = 300_000;

/** Pods have the host's network, so that `registry` and the cases' servers are in reach, and its `dir` as a volume. */
export async function executorBuilder(
  checkout: string,
  registry: string,
  context: ContextName,
): Promise<CaseBuilder> {
  const image = await executorImage(checkout);
  const dir = await tempDir("tsbuild-conformance-");
  await chmod(dir.path, 0o755);
  await mkdir(join(dir.path, "tmp"));
  const host = await startPods({ checkout, app: false, writable: [dir.path] });
  const dispose = async (): Promise<void> => {
    await host[Symbol.asyncDispose]();
    await removeTree(dir.path);
  };
  try {
    await loadImage(host, image, EXECUTOR);
  } catch (error) {
    await dispose();
    throw error;
  }
  const common = [
    `--store=${join(dir.path, "store")}`,
    `--registry-map=index.docker.io=${registry}`,
    `--insecure-registry=${registry}`,
    "--no-push",
  ];
  return {
    dir: dir.path,
    user: undefined,
    build: (args, { cwd, env }) => {
      const given = Object.entries(env).filter(([, value]) => value !== undefined);
      const request = {
        context: { ...podContext(context), emptyDirs: [] },
        image: EXECUTOR,
        args: [...common, ...args],
        env: {
          NO_COLOR: "1",
          TMPDIR: join(dir.path, "tmp"),
          ...(Object.fromEntries(given) as Record<string, string>),
        },
        workingDir: cwd,
        volumes: [{ kind: "host", path: dir.path, source: dir.path }],
      } as const;
      return runByCrun(host, request, { timeoutMs: BUILD_TIMEOUT_MS });
    },
    [Symbol.asyncDispose]: dispose,
  };
}

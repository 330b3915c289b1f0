/** Builds each case in a container that is thrown away, whose "/" is the root of its steps. */
import { chmod, mkdir } from "node:fs/promises";
import { join } from "node:path";
import { IN_PLACE_COMMAND, inPlaceRoot } from "../support/in-place-home.js";
import { throwaway } from "../support/throwaway.js";
import { removeTree, tempDir } from "../support/tools.js";
import type { CaseBuilder } from "./ways.js";

const BUILD_TIMEOUT_MS = 300_000;

/** The executor image has git; the small container here has not. */
const GIT_CASES = [
  "add-git-default-branch",
  "add-git-keep-git-dir-chown",
  "add-git-query-form",
  "add-git-ref-subdir",
  "ignore-does-not-apply-to-git-add",
];

/** Cases that ask for what the driver cannot give: why. They fail, so that none stays here for nothing. */
export const NEVER_IN_PLACE: Readonly<Record<string, string>> = {
  "arg-sandbox-hostname": "the container's name and /etc/hosts stay as they are",
  "mount-cache-owner-mode":
    "a cache in a store on a volume is a symbolic link: its own mode is 777",
  "network-none": "/sys is the container's, and shows its network",
};

/** Those that cannot be had in this container. */
export const NOT_IN_PLACE: Readonly<Record<string, string>> = {
  ...NEVER_IN_PLACE,
  ...Object.fromEntries(GIT_CASES.map((id) => [id, "there is no git in the tests' container"])),
};

export async function inPlaceBuilder(checkout: string, registry: string): Promise<CaseBuilder> {
  const dir = await tempDir("tsbuild-conformance-");
  await chmod(dir.path, 0o755);
  const [work, builder] = [join(dir.path, "work"), join(dir.path, "builder")];
  for (const path of [work, join(work, "tmp"), builder]) await mkdir(path);
  const root = await inPlaceRoot(builder, checkout);
  const common = [
    ...IN_PLACE_COMMAND,
    `--store=${join(work, "store")}`,
    "--driver=in-place",
    `--registry-map=index.docker.io=${registry}`,
    `--insecure-registry=${registry}`,
    "--no-push",
  ];
  return {
    dir: work,
    user: undefined,
    build: async (args, { cwd, env }) => {
      await using box = await throwaway(root, { [work]: work });
      const given = Object.entries(env).filter(([, value]) => value !== undefined);
      return await box.run([...common, ...args], {
        cwd,
        env: {
          NO_COLOR: "1",
          TMPDIR: join(work, "tmp"),
          ...(Object.fromEntries(given) as Record<string, string>),
        },
        timeoutMs: BUILD_TIMEOUT_MS,
      });
    },
    async [Symbol.asyncDispose](): Promise<void> {
      await removeTree(dir.path);
    },
  };
}

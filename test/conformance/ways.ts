/** The ways in which the cases are built, and what a machine lacks for one. */
import { chmod, chown, mkdir } from "node:fs/promises";
import { join } from "node:path";
import { lacksInPlaceHome } from "../support/in-place-home.js";
import { lacksThrowaway } from "../support/throwaway.js";
import { plainEnvironment } from "../support/tools-cli.js";
import { findTool, lacksTools, removeTree, run, tempDir, type Outcome } from "../support/tools.js";
import { inPlaceBuilder, NOT_IN_PLACE } from "./in-place-builder.js";
import { asUser, reachableApp, userEnvironment, type TestUser } from "../support/users.js";

export type Driver = "overlay" | "plain" | "in-place" | "proot" | "auto";

/** Who builds, and how steps are isolated. */
export interface Way {
  readonly name: string;
  readonly as: "root" | "user";
  readonly driver: Driver;
  /** Which tenth of the cases a normal test run builds this way: those whose number ends in this digit; all when absent. */
  readonly tenth: number | undefined;
}

/** Different tenths, so that together they reach five cases in ten. */
export const WAYS: readonly Way[] = [
  { name: "root, overlay", as: "root", driver: "overlay", tenth: undefined },
  { name: "user, overlay", as: "user", driver: "overlay", tenth: 1 },
  { name: "root, plain", as: "root", driver: "plain", tenth: 4 },
  { name: "user, plain", as: "user", driver: "plain", tenth: 7 },
  { name: "root, in a container's own /", as: "root", driver: "in-place", tenth: 2 },
  { name: "user without subordinate ids, proot", as: "user", driver: "proot", tenth: 5 },
];

/** Cases that ask for what a driver cannot give: why. They fail, so that none stays here for nothing. */
export const NOT_WITH: Partial<Readonly<Record<Driver, Readonly<Record<string, string>>>>> = {
  "in-place": NOT_IN_PLACE,
  proot: { "network-none": "a step below proot is in the network of the build: it is refused" },
};

/** Cases that an ordinary user cannot build, whoever wrote the builder: why, and what the build must then say. */
export const NEEDS_ROOT: Readonly<
  Record<string, { readonly because: string; readonly says: RegExp }>
> = {
  "chmod-symbolic": {
    because: "its context has a directory of mode 0124, which its owner may not list",
    says: /: tried to read "\/d124\/in" of the context: EACCES$/m,
  },
};

/** What the kernel must let whoever builds do, said without tsbuild: a broken driver must fail tests, not skip them. */
const TRIALS: Readonly<Record<Driver, string>> = {
  overlay:
    'mkdir -p l u w m && mount -t overlay overlay -o userxattr,lowerdir="$PWD/l",upperdir="$PWD/u",workdir="$PWD/w" m',
  plain: "mkdir -p m && mount --bind m m",
  "in-place": "mkdir -p m && mount --bind m m",
  proot: "true",
  auto: "true",
};

/** Why the cases cannot be built in this way here; `undefined` when they can. */
export async function lacksWay(
  driver: Driver,
  user: TestUser | undefined,
): Promise<string | undefined> {
  await using dir = await tempDir("tsbuild-way-");
  const isRoot = process.getuid?.() === 0;
  if (driver === "in-place") {
    const reason = lacksThrowaway() ?? lacksInPlaceHome();
    if (reason !== undefined) return reason;
  }
  if (driver === "proot") return lacksTools("proot");
  if (user !== undefined) await chown(dir.path, user.uid, user.gid);
  const namespaces =
    user === undefined && isRoot
      ? ["--mount"]
      : ["--user", "--map-root-user", "--map-auto", "--mount"];
  const argv = [findTool("unshare") ?? "unshare", ...namespaces, "sh", "-ec", TRIALS[driver]];
  const [command, ...args] = user === undefined ? argv : asUser(user, argv);
  const outcome = await run(command ?? "", args, { cwd: dir.path });
  return outcome.code === 0 ? undefined : `the kernel refuses: ${outcome.stderr.trim()}`;
}

/** A command that builds cases one way, and the directory in which it may write. */
export interface CaseBuilder extends AsyncDisposable {
  readonly dir: string;
  /** To whom contexts belong; absent when they keep their own owners. */
  readonly user: TestUser | undefined;
  build(
    args: readonly string[],
    options: { readonly cwd: string; readonly env: NodeJS.ProcessEnv },
  ): Promise<Outcome>;
}

/** Milliseconds that one case's build may take, on a machine that is busy with other tests. */
const BUILD_TIMEOUT_MS = 300_000;

/** `registry` is a host and port that answers for Docker Hub; `user` builds, or else whoever runs this. */
export async function caseBuilder(
  checkout: string,
  registry: string,
  driver: Driver,
  user: TestUser | undefined,
): Promise<CaseBuilder> {
  if (driver === "in-place") return inPlaceBuilder(checkout, registry);
  const dir = await tempDir("tsbuild-conformance-");
  await chmod(dir.path, 0o755);
  for (const name of ["", "tmp"]) {
    await mkdir(join(dir.path, name), { recursive: true });
    if (user !== undefined) await chown(join(dir.path, name), user.uid, user.gid);
  }
  const app = user === undefined ? undefined : await reachableApp(checkout, user);
  const common = [
    app?.node ?? process.execPath,
    join(app?.dir ?? checkout, "bin/tsbuild.js"),
    `--store=${join(dir.path, "store")}`,
    `--driver=${driver}`,
    `--registry-map=index.docker.io=${registry}`,
    `--insecure-registry=${registry}`,
    "--no-push",
  ];
  const fixed = { TMPDIR: join(dir.path, "tmp"), NO_COLOR: "1" };
  return {
    dir: dir.path,
    user,
    build(args, { cwd, env }): Promise<Outcome> {
      const argv = [...common, ...args];
      const [command, ...rest] = user === undefined ? argv : asUser(user, argv);
      const base = user === undefined ? plainEnvironment() : userEnvironment(user);
      return run(command ?? "", rest, {
        cwd,
        env: { ...base, ...fixed, ...env },
        timeoutMs: BUILD_TIMEOUT_MS,
      });
    },
    async [Symbol.asyncDispose](): Promise<void> {
      await app?.[Symbol.asyncDispose]();
      await removeTree(dir.path);
    },
  };
}

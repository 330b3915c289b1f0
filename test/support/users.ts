/** Ordinary users for the tests: one with subordinate ids, one without. Making them needs root. */
import { existsSync } from "node:fs";
import { cp, readFile } from "node:fs/promises";
import { join } from "node:path";
import {
  findTool,
  lacksRoot,
  lacksTools,
  mustRun,
  run,
  tempDir,
  type Outcome,
  type RunOptions,
} from "./tools.js";

export interface TestUser {
  readonly name: string;
  readonly uid: number;
  readonly gid: number;
  readonly home: string;
}

/** Has 65,536 subordinate uids and gids, as `useradd` gives them on most systems. */
export const USER_WITH_SUBIDS = "tsbuild-test";
/** Has none, as a service account or a user in a container. */
export const USER_WITHOUT_SUBIDS = "tsbuild-test-nosub";
const SUB_ID_COUNT = 65_536;
const FIRST_SUB_ID = 400_000;

/** Why tests with other users cannot run here; `undefined` when they can. */
export function lacksUsers(): string | undefined {
  return lacksRoot() ?? lacksTools("useradd", "usermod", "setpriv");
}

/** The user with subordinate ids, made when missing. */
export async function userWithSubIds(): Promise<TestUser> {
  const user = await ensureUser(USER_WITH_SUBIDS, []);
  if (!(await hasSubIds(user.name))) {
    const range = `${FIRST_SUB_ID}-${FIRST_SUB_ID + SUB_ID_COUNT - 1}`;
    await mustRun("usermod", ["--add-subuids", range, "--add-subgids", range, user.name]);
  }
  return user;
}

/** The user without subordinate ids, made when missing: a system account, since those get none. */
export async function userWithoutSubIds(): Promise<TestUser> {
  const user = await ensureUser(USER_WITHOUT_SUBIDS, ["--system"]);
  if (await hasSubIds(user.name)) throw new Error(`${user.name} has subordinate ids`);
  return user;
}

async function hasSubIds(name: string): Promise<boolean> {
  const texts = await Promise.all(
    ["/etc/subuid", "/etc/subgid"].map((path) => readFile(path, "utf8").catch(() => "")),
  );
  return texts.every((text) => text.split("\n").some((line) => line.startsWith(`${name}:`)));
}

async function ensureUser(name: string, flags: readonly string[]): Promise<TestUser> {
  const found = await findUser(name);
  if (found !== undefined) return found;
  const home = ["--create-home", "--home-dir", `/home/${name}`, "--shell", "/bin/sh"];
  // Two test files may ask at once: the second finds the name taken, or the file locked for a moment.
  const made = await run("useradd", [...flags, ...home, name]);
  for (let tries = 0; tries < 50; tries++) {
    const user = await findUser(name);
    if (user !== undefined) return user;
    await new Promise((resolve) => setTimeout(resolve, 100));
  }
  throw new Error(`useradd ${name}: ${made.stderr}`);
}

/** The user of that name in /etc/passwd; `undefined` when there is none. */
export async function findUser(name: string): Promise<TestUser | undefined> {
  const line = (await readFile("/etc/passwd", "utf8"))
    .split("\n")
    .find((entry) => entry.startsWith(`${name}:`));
  const [, , uid, gid, , home] = line?.split(":") ?? [];
  if (uid === undefined || gid === undefined || home === undefined) return undefined;
  return { name, uid: Number(uid), gid: Number(gid), home };
}

/** The words that run `argv` as `user` with no privileges and a login's environment. */
export function asUser(user: TestUser, argv: readonly string[]): readonly [string, ...string[]] {
  const setpriv = findTool("setpriv") ?? "setpriv";
  return [
    setpriv,
    `--reuid=${user.uid}`,
    `--regid=${user.gid}`,
    "--init-groups",
    "--inh-caps=-all",
    "--",
    ...argv,
  ];
}

/** Runs a program as `user`, in the user's home unless `cwd` says otherwise. */
export function runAs(
  user: TestUser,
  argv: readonly string[],
  options: RunOptions = {},
): Promise<Outcome> {
  const [command, ...args] = asUser(user, argv);
  return run(command, args, {
    ...options,
    cwd: options.cwd ?? user.home,
    env: { ...userEnvironment(user), ...options.env },
  });
}

/** What a login of `user` sets. */
export function userEnvironment(user: TestUser): NodeJS.ProcessEnv {
  return {
    PATH: "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
    HOME: user.home,
    USER: user.name,
    LOGNAME: user.name,
    LANG: "C.UTF-8",
  };
}

export interface App extends AsyncDisposable {
  /** The node program. */
  readonly node: string;
  /** The checkout: `bin/`, `dist/` and the packages they load. */
  readonly dir: string;
}

/** What `bin/tsbuild.js` needs besides `dist`: the packages that are not bundled. */
const RUNTIME_PACKAGES = ["koffi", "@koromix", "@cloudpss"];

/** This checkout where `user` can read it: a CI's checkout, and its node, may lie in root's home. */
export async function reachableApp(checkout: string, user: TestUser): Promise<App> {
  const entry = join(checkout, "bin/tsbuild.js");
  const probe = await runAs(user, [process.execPath, "--check", entry], { cwd: "/" }).catch(
    () => undefined,
  );
  if (probe?.code === 0) {
    return { node: process.execPath, dir: checkout, async [Symbol.asyncDispose]() {} };
  }
  const copy = await tempDir("tsbuild-app-");
  try {
    const node = join(copy.path, "node");
    await cp(process.execPath, node);
    for (const part of ["bin", "dist", "package.json"]) {
      await cp(join(checkout, part), join(copy.path, part), { recursive: true });
    }
    for (const name of RUNTIME_PACKAGES) {
      const from = join(checkout, "node_modules", name);
      if (!existsSync(from)) continue;
      await cp(from, join(copy.path, "node_modules", name), { recursive: true });
    }
    await mustRun("chmod", ["-R", "u+rwX,go+rX", copy.path]);
    return { node, dir: copy.path, [Symbol.asyncDispose]: () => copy[Symbol.asyncDispose]() };
  } catch (error) {
    await copy[Symbol.asyncDispose]();
    throw error;
  }
}

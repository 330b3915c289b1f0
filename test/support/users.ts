/** Ordinary users for the tests: one with subordinate ids, one without. Making them needs root. */
import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { cached } from "./bases.js";
import {
  findTool,
  lacksRoot,
  lacksTools,
  mustRun,
  run,
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

async function findUser(name: string): Promise<TestUser | undefined> {
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

/** A copy of `path` where every user can read it; a checkout may lie in root's home. */
export async function readableCopy(path: string, name: string): Promise<string> {
  const dir = await cached(`copy-${name}-${process.pid}`, async (half) => {
    await mustRun("cp", ["-aL", path, join(half, "it")]);
  });
  return join(dir, "it");
}

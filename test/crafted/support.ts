/** Builds with things that mean harm, in a place where whatever gets out is seen. */
import type { ChildProcess } from "node:child_process";
import { existsSync } from "node:fs";
import { chmod, chown, lstat, mkdir, readdir, readFile, writeFile } from "node:fs/promises";
import { dirname, join } from "node:path";
import { expect } from "vitest";
import { TsbuildError } from "../../src/errors.js";
import { start, type BuildOptions } from "../../src/index.js";
import { busyboxTar, writeLayout } from "../support/bases.js";
import {
  CHECKOUT,
  builder,
  errorLines,
  stackLines,
  untilNothingIsLeft,
} from "../support/tools-cli.js";
import { mustRun, tempDir, type Outcome, type TempDir } from "../support/tools.js";
import { reachableApp, userWithSubIds, type App, type TestUser } from "../support/users.js";
import { PLANTED } from "./cases.js";

/** Who builds, and how its roots are made. */
export type Driver = "root, overlay" | "root, plain" | "user, overlay";
export const DRIVERS: readonly Driver[] = ["root, overlay", "root, plain", "user, overlay"];

/** Where nothing of an image may appear. */
const OUTSIDE = ["/", "/etc", "/tmp", "/root", "/home", "/var/tmp"];

/** A directory with contexts, stores, and a canary beside them that nobody may touch. */
export interface Place extends AsyncDisposable {
  readonly path: string;
  /** Writes a context; its Dockerfile is `Dockerfile`. */
  context(name: string, files: Readonly<Record<string, string | Uint8Array>>): Promise<string>;
  /** An OCI layout of busybox with these layers upon it. */
  base(name: string, ...layers: readonly Buffer[]): Promise<string>;
  /** Builds by the command line, to the end. */
  build(context: string, options?: CommandOptions): Promise<Outcome & { readonly layout: string }>;
  /** Builds in this process what cannot be built: many times as fast, for root alone. */
  fails(context: string, options?: Partial<BuildOptions>): Promise<TsbuildError>;
  /** Fails when anything got out of the place where it belongs. */
  expectNothingEscaped(): Promise<void>;
}

export interface CommandOptions {
  readonly driver?: Driver;
  /** In place of the one that all builds of the driver share. */
  readonly store?: string;
  readonly flags?: readonly string[];
  readonly timeoutMs?: number;
  /** Sees the command as soon as it runs. */
  readonly onStart?: (child: ChildProcess) => void;
}

export async function openPlace(): Promise<Place> {
  const dir = await tempDir("tsbuild-crafted-");
  await chmod(dir.path, 0o755);
  const user = await userWithSubIds();
  const app = await reachableApp(CHECKOUT, user);
  const canary = join(dir.path, "canary");
  await mkdir(canary);
  await writeFile(join(canary, "sings"), "as ever\n");
  const before = await tell(canary);
  return {
    path: dir.path,
    context: (name, files) => writeContext(join(dir.path, "contexts", name), files),
    base: async (name, ...layers) => {
      const layout = join(dir.path, "bases", name);
      await mkdir(layout, { recursive: true });
      await writeLayout(layout, { layers: [await busyboxTar(), ...layers] });
      return layout;
    },
    build: (context, options = {}) => buildIn(dir, { user, app }, context, options),
    fails: (context, options = {}) => failing(dir, context, options),
    expectNothingEscaped: async () => {
      expect(await tell(canary)).toEqual(before);
      expect(await escaped(dir.path)).toEqual([]);
    },
    [Symbol.asyncDispose]: async () => {
      await untilNothingIsLeft(dir.path);
      await app[Symbol.asyncDispose]();
      // Paths in it are longer than Node can remove.
      await mustRun("rm", ["-rf", dir.path]);
    },
  };
}

async function writeContext(
  path: string,
  files: Readonly<Record<string, string | Uint8Array>>,
): Promise<string> {
  await mkdir(path, { recursive: true });
  for (const [name, content] of Object.entries(files)) {
    await writeFile(join(path, name), content, { mode: 0o644 });
  }
  return path;
}

let builds = 0;

async function buildIn(
  dir: TempDir,
  other: { readonly user: TestUser; readonly app: App },
  context: string,
  { driver = "root, overlay", store, flags = [], timeoutMs = 170_000, onStart }: CommandOptions,
): Promise<Outcome & { readonly layout: string }> {
  const [who, kind = ""] = driver.split(", ");
  const home = join(dir.path, String(who));
  if (!existsSync(home)) {
    await mkdir(home);
    if (who === "user") await chown(home, other.user.uid, other.user.gid);
  }
  const layout = join(home, `image-${builds++}`);
  const at = builder({
    store: store ?? join(home, `store-${kind}`),
    ...(who === "user" ? { user: other } : {}),
  });
  const outcome = await at.run(
    ["--context", context, "--no-push", "--oci-layout-path", layout, `--driver=${kind}`, ...flags],
    { timeoutMs, ...(onStart === undefined ? {} : { onStart }) },
  );
  return { ...outcome, layout };
}

async function failing(
  dir: TempDir,
  context: string,
  options: Partial<BuildOptions>,
): Promise<TsbuildError> {
  const store = join(dir.path, "root", `store-${options.driver ?? "overlay"}`);
  await mkdir(dirname(store), { recursive: true });
  const running = start({ push: false, store, ...options, context });
  for await (const _ of running.events);
  const error: unknown = await running.result.then(
    () => undefined,
    (reason: unknown) => reason,
  );
  if (error instanceof TsbuildError) return error;
  throw new Error("the build did not fail with an error of ours", { cause: error });
}

/** Expects an error of one line that says so, and no stack. */
export function expectOneLine(outcome: Outcome, says: RegExp): void {
  expect(outcome.signal).toBeNull();
  expect(outcome.code, outcome.stdout + outcome.stderr).not.toBe(0);
  expect(stackLines(outcome)).toEqual([]);
  expect(errorLines(outcome), outcome.stderr).toHaveLength(1);
  expect(errorLines(outcome)[0]).toMatch(says);
}

/** Everything about what is below a directory that a write would change. */
async function tell(directory: string): Promise<readonly string[]> {
  const told: string[] = [];
  for (const name of [".", ...(await readdir(directory)).sort()]) {
    const path = join(directory, name);
    const { ctimeMs, mode, uid, nlink } = await lstat(path);
    told.push(`${name} ${ctimeMs} ${mode} ${uid} ${nlink}`);
  }
  told.push(await readFile(join(directory, "sings"), "utf8"));
  return told;
}

/** Paths of planted things outside of a layer's, or a root's, own directory. */
async function escaped(place: string): Promise<readonly string[]> {
  const found: string[] = [];
  for (const directory of OUTSIDE) {
    for (const name of await readdir(directory)) {
      if (name.startsWith(PLANTED)) found.push(join(directory, name));
    }
  }
  const walk = async (below: string): Promise<void> => {
    for (const entry of await readdir(join(place, below), { withFileTypes: true })) {
      const path = join(below, entry.name);
      if (isOwnPlace(path)) continue;
      if (entry.name.startsWith(PLANTED)) found.push(path);
      if (entry.isDirectory()) await walk(path);
    }
  };
  await walk("");
  return found;
}

/** `<user>/store-<driver>/layers/<id map>/<layer>`: what is in it is in it. */
function isOwnPlace(path: string): boolean {
  return /^[^/]+\/store[^/]*\/layers\/[^/]+\/[^/]+$/.test(path);
}

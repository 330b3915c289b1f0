/** The command as its users run it: `node bin/tsbuild.js …` of this checkout, with a store of its own. */
import { readdir, readFile, readlink } from "node:fs/promises";
import { existsSync } from "node:fs";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import type { RegistryService } from "./services.js";
import { eventually, run, type Outcome, type RunOptions } from "./tools.js";
import { runAs, type App, type TestUser } from "./users.js";

/** The repository's top directory. */
export const CHECKOUT: string = dirname(dirname(dirname(fileURLToPath(import.meta.url))));

/** Why the command cannot be run here; `undefined` when it can. */
export function lacksBuild(): string | undefined {
  return existsSync(join(CHECKOUT, "dist/cli/main.cjs")) ? undefined : "not built: npm run build";
}

export interface Builder {
  readonly store: string;
  /** The whole command line, for tests that wrap it. */
  argv(args: readonly string[]): readonly [string, ...string[]];
  /** Runs a build to its end. */
  run(args: readonly string[], options?: RunOptions): Promise<Outcome>;
}

export interface BuilderOptions {
  readonly store: string;
  /** Where `FROM name` finds its base: the mirror of the default registry. */
  readonly registry?: RegistryService;
  /** Whose build it is; the test's own user when absent. */
  readonly user?: { readonly user: TestUser; readonly app: App };
}

/** A command with its store and its registry set. */
export function builder({ store, registry, user }: BuilderOptions): Builder {
  const node = user?.app.node ?? process.execPath;
  const entry = join(user?.app.dir ?? CHECKOUT, "bin/tsbuild.js");
  const reach =
    registry === undefined
      ? []
      : ["--registry-mirror", registry.host, "--insecure-registry", registry.host];
  const argv = (args: readonly string[]): readonly [string, ...string[]] => [
    node,
    entry,
    "--store",
    store,
    ...reach,
    ...args,
  ];
  return {
    store,
    argv,
    run(args, options = {}): Promise<Outcome> {
      const [command, ...rest] = argv(args);
      return user === undefined
        ? run(command, rest, { env: plainEnvironment(), ...options })
        : runAs(user.user, [command, ...rest], options);
    },
  };
}

/** The test's environment without what would change a build: logins, mirrors and colours of whoever runs the tests. */
export function plainEnvironment(extra: NodeJS.ProcessEnv = {}): NodeJS.ProcessEnv {
  const own = Object.entries(process.env).filter(
    ([name]) =>
      !/^(DOCKER_CONFIG|REGISTRY_AUTH_FILE|KANIKO_|TSBUILD_|FORCE_COLOR|VITEST)/.test(name),
  );
  return { ...Object.fromEntries(own), NO_COLOR: "1", DOCKER_CONFIG: "/nonexistent", ...extra };
}

/** What a build has left on this machine: processes and mounts that name `marker` (a store, or a word of a RUN). */
export async function leftovers(marker: string): Promise<readonly string[]> {
  const found: string[] = [];
  for (const pid of (await readdir("/proc")).filter((name) => /^\d+$/.test(name))) {
    if (Number(pid) === process.pid) continue;
    const read = (file: string): Promise<string> =>
      readFile(`/proc/${pid}/${file}`, "utf8").catch(() => "");
    const link = (file: string): Promise<string> =>
      readlink(`/proc/${pid}/${file}`).catch(() => "");
    const facts = {
      cmdline: await read("cmdline"),
      mountinfo: await read("mountinfo"),
      cwd: await link("cwd"),
      root: await link("root"),
    };
    for (const [what, text] of Object.entries(facts)) {
      if (text.includes(marker)) found.push(`${what} of ${pid} (${facts.cmdline.slice(0, 200)})`);
    }
  }
  return found;
}

/** Waits until a build has left nothing behind; the kernel needs a moment after a kill. */
export async function untilNothingIsLeft(marker: string): Promise<void> {
  let last: readonly string[] = [];
  await eventually("nothing to be left", async () => {
    last = await leftovers(marker);
    return last.length === 0 ? true : undefined;
  }).catch(() => {
    throw new Error(`left behind: ${last.join("; ")}`);
  });
}

/** The lines that begin with `error:`. */
export function errorLines(outcome: Outcome): readonly string[] {
  return outcome.stderr.split("\n").filter((line) => line.startsWith("error:"));
}

/** The lines of a stack trace, which no user should see. */
export function stackLines(outcome: Outcome): readonly string[] {
  const output = `${outcome.stdout}\n${outcome.stderr}`;
  return output
    .split("\n")
    .filter((line) => /^\s+at .*(:\d+:\d+|native|<anonymous>)\)?$/.test(line));
}

import { realpathSync } from "node:fs";
import { join, resolve } from "node:path/posix";
import { TsbuildError, messageOf } from "../errors.js";
import { entryPath } from "../internal/entry.js";
import { compileGlob } from "../internal/path-match.js";
import type { InPlaceOptions } from "../worker/types.js";
import type { BuildOptions } from "./options.js";

/** Where the executor image has everything. */
const USUAL_HOME = "/kaniko";
/** Where the debug image has the commands of a job's script, which goes on after the build. */
const COMMANDS = "/busybox";

/**
 * What the driver that rewrites "/" has to know. Whatever the build itself reads or writes is left alone; what is not
 * on a volume is then hidden from steps, or seen by them.
 * @param places the directory of the main context, and the store
 * @throws TsbuildError USAGE
 */
export function inPlaceOptions(options: BuildOptions, places: readonly string[]): InPlaceOptions {
  const {
    force,
    ignorePaths = [],
    ignoreVarRun,
    directory,
    preCleanup,
    cleanup,
    preserveContext,
  } = options.inPlace ?? {};
  const asked = ignorePaths.map(checkedPath);
  const home = programHome();
  const own = [...places, ...ownPaths(options), ...commands(home)].map((path) => resolve(path));
  const ignored = [
    ...asked,
    ...(ignoreVarRun === true ? ["/var/run"] : []),
    ...(directory === undefined ? [] : [resolve(directory)]),
    // The root itself cannot be left alone: a context there is read before anything is changed.
    ...own.filter((path) => path !== "/"),
  ];
  return {
    home,
    ignored: [...new Set(ignored)],
    force: force ?? false,
    wipeFirst: preCleanup ?? false,
    wipeLast: cleanup ?? false,
    preserve: preserveContext ?? false,
  };
}

/** A path, or Kaniko's pattern of one. @throws TsbuildError USAGE */
function checkedPath(text: string): string {
  const path = resolve("/", text);
  if (path === "/") throw new TsbuildError("USAGE", `--ignore-path "${text}" is everything`);
  try {
    for (const name of path.split("/")) compileGlob(name, false);
  } catch (error) {
    throw new TsbuildError("USAGE", `--ignore-path "${text}": ${messageOf(error)}`, {
      cause: error,
    });
  }
  return path;
}

/** The directory that holds the program and its modules, where there is one. */
function programHome(): string {
  const [program = [], modules = []] = [process.execPath, entryPath("child.cjs")].map((path) =>
    path.split("/"),
  );
  const length = program.findIndex((name, at) => name !== modules[at]);
  const common = program.slice(0, length < 0 ? program.length : length).join("/");
  return common === "" ? USUAL_HOME : common;
}

/** A runtime need not make a volume of them. They are ours if they lead to our own directory. */
function commands(home: string): readonly string[] {
  try {
    return realpathSync(join(COMMANDS, "sh")).startsWith(`${home}/`) ? [COMMANDS] : [];
  } catch {
    return [];
  }
}

function ownPaths(options: BuildOptions): readonly string[] {
  const environment = options.environment ?? {};
  return [
    ...outputPaths(options),
    ...Object.values(options.secrets ?? {}).flatMap((from) => ("file" in from ? from.file : [])),
    ...Object.values(options.sshAgents ?? {}).flatMap((from) =>
      typeof from === "object" && "raw" in from ? from.raw : from,
    ),
    ...Object.values(options.buildContexts ?? {}).flatMap(localPath),
    ...(options.cdiSpecDirectories ?? []),
    ...loginPaths(environment),
  ].filter((path) => path !== "");
}

function outputPaths(options: BuildOptions): readonly string[] {
  const files = [
    options.tarPath,
    options.ociLayoutPath,
    options.digestFile,
    options.iidFile,
    options.metadataFile,
    options.imageNameWithDigestFile,
    options.imageNameTagWithDigestFile,
    ...(options.outputs ?? []).map((output) => ("dest" in output ? output.dest : undefined)),
  ];
  return files.filter((path) => path !== undefined);
}

/** A directory, or a file that the context is in. */
function localPath(value: string): readonly string[] {
  const path = value.replace(/^oci-layout:\/\//, "").replace(/[:@][^/]*$/, "");
  return path.includes("://") ? [] : [path];
}

/** Logins and certificates. */
function loginPaths(environment: NonNullable<BuildOptions["environment"]>): readonly string[] {
  const value = (name: string): readonly string[] => {
    const found = environment[name];
    return found === undefined || found === "" ? [] : [found];
  };
  const within = (name: string, below: string): readonly string[] =>
    value(name).map((directory) => join(directory, below));
  return [
    ...value("DOCKER_CONFIG"),
    ...within("HOME", ".docker"),
    ...within("XDG_RUNTIME_DIR", "containers"),
    ...value("REGISTRY_AUTH_FILE"),
    ...value("GOOGLE_APPLICATION_CREDENTIALS"),
    ...value("AWS_SHARED_CREDENTIALS_FILE"),
    ...value("AWS_WEB_IDENTITY_TOKEN_FILE"),
    ...value("SSL_CERT_FILE"),
    ...value("SSL_CERT_DIR").flatMap((list) => list.split(":").filter(Boolean)),
  ];
}

/** Those of the options for it that were given, by their flags: they mean nothing to drivers that leave "/" alone. */
export function withoutMeaning({ inPlace = {} }: BuildOptions): readonly string[] {
  const flags = {
    force: "--force",
    ignorePaths: "--ignore-path",
    ignoreVarRun: "--ignore-var-run",
    preCleanup: "--pre-cleanup",
    cleanup: "--cleanup",
    preserveContext: "--preserve-context",
  } as const;
  return Object.entries(flags).flatMap(([name, flag]) => {
    const given = inPlace[name as keyof typeof flags];
    return given === undefined ? [] : [flag];
  });
}

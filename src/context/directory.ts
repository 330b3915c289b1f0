import { realpath, stat } from "node:fs/promises";
import { errnoOf, messageOf, TsbuildError } from "../errors.js";
import type { Statx } from "../internal/statx.js";
import { digestDirectory } from "./directory-digest.js";
import { DirectoryTree } from "./directory-tree.js";
import { compileIgnoreFile } from "./ignore.js";
import type { DirectoryOptions, FileSource } from "./types.js";

/**
 * A directory as a source of COPY and ADD: the build's context, a named context. What its ignore file excludes is not
 * there. Every file belongs to root; mode, time and hard links are kept.
 * @throws TsbuildError CONTEXT_UNREADABLE when there is no such directory, or the ignore file is malformed
 */
export async function openDirectory(path: string, options: DirectoryOptions): Promise<FileSource> {
  options.signal.throwIfAborted();
  const root = await findRoot(path, options.name);
  const patterns =
    options.ignoreFile === undefined ? undefined : compileIgnoreFile(options.ignoreFile);
  const tree = new DirectoryTree(root, { name: options.name, patterns, xattrs: options.xattrs });
  let found: { readonly statx: Statx | undefined } | undefined;
  const statx = (): Statx | undefined => (found ??= { statx: options.statx?.() }).statx;
  return {
    tree,
    name: options.name,
    ignoredBy: (file) => {
      const decision = file === "" ? undefined : patterns?.decidedBy(file);
      return decision?.matched === true ? decision.pattern : undefined;
    },
    alwaysIgnores: (file) =>
      patterns !== undefined &&
      !patterns.hasExceptions &&
      file !== "" &&
      patterns.decidedBy(file)?.matched === true,
    identity: (file) => tree.identity(file),
    digestBelow: (base, memory, signal) => digestDirectory(tree, base, { memory, statx, signal }),
    candidates: (base, pattern) => globCandidates(root, base, pattern),
    [Symbol.asyncDispose]: () => Promise.resolve(),
  };
}

async function findRoot(path: string, name: string): Promise<string> {
  try {
    const root = await realpath(path);
    if ((await stat(root)).isDirectory()) return root;
  } catch (error) {
    const reason = errnoOf(error) === "ENOENT" ? "no such directory" : messageOf(error);
    throw new TsbuildError("CONTEXT_UNREADABLE", `tried to open the ${name} ${path}: ${reason}`, {
      cause: error,
    });
  }
  throw new TsbuildError(
    "CONTEXT_UNREADABLE",
    `tried to open the ${name} ${path}: not a directory`,
  );
}

/** Names by fast-glob: an element with a wildcard becomes `*`, since Go's rule for the rest is not fast-glob's. */
async function globCandidates(
  root: string,
  base: string,
  pattern: string,
): Promise<readonly string[]> {
  const { default: glob } = await import("fast-glob");
  const elements = pattern
    .split("/")
    .map((element) => (/[*?[\\]/.test(element) ? "*" : glob.escapePath(element)));
  const found = await glob(elements.join("/"), {
    cwd: base === "" ? root : `${root}/${base}`,
    dot: true,
    onlyFiles: false,
    followSymbolicLinks: false,
    suppressErrors: false,
  });
  return found.map((name) => (base === "" ? name : `${base}/${name}`));
}

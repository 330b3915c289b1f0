import { readFile, realpath, stat } from "node:fs/promises";
import { dirname, join } from "node:path";
import { errnoOf, TsbuildError } from "../errors.js";
import { trimSpaces } from "../internal/go-spaces.js";
import { BadPatternError } from "../internal/path-match.js";
import { cleanPath, compilePatterns, type PathPatterns } from "../internal/path-patterns.js";
import type { IgnoreFile } from "./types.js";

/** Bytes. An ignore file is read whole. */
const MAX_IGNORE_FILE = 4 * 1024 * 1024;

/**
 * The ignore file of a build: `<Dockerfile>.dockerignore` beside the Dockerfile, else `.dockerignore` at the top of the
 * context; the two are never merged. Without a Dockerfile (a named context), only the latter. A link must stay beside
 * the Dockerfile or inside the context.
 * @throws TsbuildError CONTEXT_UNREADABLE
 */
export async function findIgnoreFile(
  dockerfilePath: string | undefined,
  contextPath: string,
): Promise<IgnoreFile | undefined> {
  if (dockerfilePath !== undefined) {
    const own = await readInside(`${dockerfilePath}.dockerignore`, [
      dirname(dockerfilePath),
      contextPath,
    ]);
    if (own !== undefined) return own;
  }
  return readInside(join(contextPath, ".dockerignore"), [contextPath]);
}

/**
 * The patterns of an ignore file's text: a BOM, comments (`#` in the first column) and blank lines dropped, each pattern
 * trimmed and cleaned, a leading slash dropped.
 */
export function parseIgnoreFile(text: string): readonly string[] {
  const patterns: string[] = [];
  for (const line of text.replace(/^\uFEFF/, "").split("\n")) {
    if (line.startsWith("#")) continue;
    let pattern = trimSpaces(line);
    if (pattern === "") continue;
    const exception = pattern.startsWith("!");
    if (exception) pattern = trimSpaces(pattern.slice(1));
    if (pattern !== "") pattern = cleanPath(pattern);
    if (pattern.length > 1 && pattern.startsWith("/")) pattern = pattern.slice(1);
    patterns.push(exception ? `!${pattern}` : pattern);
  }
  return patterns;
}

/**
 * An ignore file, compiled.
 * @throws TsbuildError CONTEXT_UNREADABLE naming the file, when a pattern is malformed
 */
export function compileIgnoreFile(file: IgnoreFile): PathPatterns {
  try {
    return compilePatterns(parseIgnoreFile(file.text));
  } catch (error) {
    if (!(error instanceof BadPatternError)) throw error;
    throw new TsbuildError(
      "CONTEXT_UNREADABLE",
      `tried to read the patterns of ${file.path}: ${error.message}`,
      { cause: error },
    );
  }
}

async function readInside(path: string, roots: readonly string[]): Promise<IgnoreFile | undefined> {
  try {
    const real = await realpath(path);
    const allowed = await Promise.all(roots.map((root) => realpath(root)));
    if (!allowed.some((root) => real.startsWith(root === "/" ? root : `${root}/`))) {
      throw unreadable(path, "the link leaves the context");
    }
    const stats = await stat(real);
    if (!stats.isFile()) throw unreadable(path, "not a file");
    if (stats.size > MAX_IGNORE_FILE)
      throw unreadable(path, `larger than ${MAX_IGNORE_FILE} bytes`);
    return { path, text: await readFile(real, "utf8") };
  } catch (error) {
    const errno = errnoOf(error);
    if (errno === "ENOENT" || errno === "ENOTDIR") return undefined;
    if (error instanceof TsbuildError) throw error;
    throw unreadable(path, errno ?? String(error), error);
  }
}

function unreadable(path: string, why: string, cause?: unknown): TsbuildError {
  return new TsbuildError("CONTEXT_UNREADABLE", `tried to read ${path}: ${why}`, { cause });
}

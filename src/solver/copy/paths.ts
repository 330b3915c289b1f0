import { cleanPath } from "../../internal/path-patterns.js";

/** Where a COPY or ADD goes. */
export interface Destination {
  /** Relative to the root of the image, clean; symlinks not yet followed. */
  readonly path: string;
  /** It ends with `/` or `/.`: a directory, also if nothing is there yet. */
  readonly isDirectory: boolean;
}

/** Resolves a destination against the working directory. "" and "." are the working directory itself. */
export function destinationOf(workdir: string, target: string): Destination {
  const written = target === "" || target === "." ? "./" : target;
  const path = written.startsWith("/") ? written : `${workdir}/${written}`;
  return { path: cleanRelative(path), isDirectory: /\/\.?$/.test(written) };
}

/** A path inside a root: leading slashes, `.`, `..` above the root and slashes at the end are dropped. */
export function cleanRelative(path: string): string {
  return cleanPath(`/${path}`).slice(1);
}

export function join(directory: string, name: string): string {
  return directory === "" || name === "" ? directory + name : `${directory}/${name}`;
}

export function parentOf(path: string): string {
  const slash = path.lastIndexOf("/");
  return slash < 0 ? "" : path.slice(0, slash);
}

export function baseName(path: string): string {
  return path.slice(path.lastIndexOf("/") + 1);
}

/** `a`, `a/b`, `a/b/c` of `a/b/c`. */
export function* prefixes(path: string): Generator<string> {
  if (path === "") return;
  for (let end = path.indexOf("/"); end >= 0; end = path.indexOf("/", end + 1)) {
    yield path.slice(0, end);
  }
  yield path;
}

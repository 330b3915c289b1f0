import { findIgnoreFile, openDirectory } from "../context/index.js";
import type { FileSource } from "../context/types.js";
import { TsbuildError } from "../errors.js";
import { parseReference } from "../oci/reference.js";
import type { NamedContext } from "../solver/types.js";

/** The main context: a directory with its ignore file. @throws TsbuildError CONTEXT_UNREADABLE */
export async function openContext(
  path: string,
  dockerfile: string,
  signal: AbortSignal,
): Promise<FileSource> {
  const ignoreFile = await findIgnoreFile(dockerfile, path);
  return openDirectory(path, { name: "context", signal, ignoreFile });
}

/** Named contexts by their lower-case name. @throws TsbuildError USAGE */
export function namedContexts(
  given: Readonly<Record<string, string>>,
  signal: AbortSignal,
): ReadonlyMap<string, NamedContext> {
  return new Map(
    Object.entries(given).map(([name, value]) => [
      name.toLowerCase(),
      namedContext(name, value, signal),
    ]),
  );
}

function namedContext(name: string, value: string, signal: AbortSignal): NamedContext {
  if (name.toLowerCase() === "scratch" || name.toLowerCase() === "context") {
    throw new TsbuildError("USAGE", `"${name}" cannot name a context: it is reserved`);
  }
  const image = /^docker-image:\/\/(.+)$/s.exec(value)?.[1];
  if (image !== undefined) {
    if (image !== "scratch") parseReference(image);
    return { kind: "image", reference: image };
  }
  const scheme = /^([a-z][a-z0-9+.-]*):\/\//.exec(value)?.[1];
  if (scheme !== undefined) {
    throw new TsbuildError("USAGE", `context ${name}: ${scheme}:// is not supported yet`, {
      hint: "give a directory or docker-image://reference",
    });
  }
  let opened: Promise<FileSource> | undefined;
  const open = async (): Promise<FileSource> => {
    // A named context has its own ignore file, if any; a Dockerfile's is for the main one.
    const ignoreFile = await findIgnoreFile(undefined, value);
    return openDirectory(value, { name: `context ${name}`, signal, ignoreFile });
  };
  return { kind: "files", open: () => (opened ??= open()) };
}

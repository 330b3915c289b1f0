import { constants } from "node:fs";
import { access, open, realpath } from "node:fs/promises";
import { isAbsolute, join, sep } from "node:path";
import type { SourceFile } from "../dockerfile/types.js";
import type { UrlFile } from "../context/types.js";
import { TsbuildError, errnoOf, messageOf } from "../errors.js";
import { redactUrl } from "../internal/redact.js";

/** Bytes; more than any Dockerfile that a person wrote. */
const MAX_DOCKERFILE = 16 * 1024 * 1024;
const DEFAULT_NAME = "Dockerfile";

export interface FoundDockerfile {
  readonly file: SourceFile;
  /** Where it is; its ignore file stands beside it. Absent: it came from a URL. */
  readonly path: string | undefined;
}

/**
 * Kaniko's look-up: by an http(s) address, or as given, then below the context. A context that was fetched comes first, and its links lead
 * nowhere else: what is read is shown in messages.
 * @throws TsbuildError CONTEXT_UNREADABLE
 */
export async function readDockerfile(
  name: string | undefined,
  { directory, fetched }: { readonly directory: string; readonly fetched: boolean },
  network: { file(url: string): Promise<UrlFile> },
): Promise<FoundDockerfile> {
  const given = name ?? DEFAULT_NAME;
  if (/^https?:\/\//i.test(given)) {
    const { path } = await network.file(given);
    const shown = redactUrl(given);
    return { file: { path: shown, text: await readText(path, shown) }, path: undefined };
  }
  const below = join(directory, given);
  // Without a name the context's own Dockerfile is meant, wherever the build is started.
  const both = fetched ? [below, given] : [given, below];
  const candidates = name === undefined ? [below] : isAbsolute(given) ? [given] : both;
  for (const path of candidates) {
    if (!(await exists(path))) continue;
    if (fetched && path === below) await refuseOutside(path, given, directory);
    return { file: { path: given, text: await readText(path) }, path };
  }
  const shown = candidates.map((path) =>
    fetched && path === below ? `${given} in the context` : path,
  );
  throw new TsbuildError(
    "CONTEXT_UNREADABLE",
    `tried to read the Dockerfile: ${shown.join(" and ")} do${shown.length > 1 ? "" : "es"} not exist`,
    { hint: "name it with --dockerfile, relative to the working directory or to the context" },
  );
}

async function refuseOutside(path: string, given: string, directory: string): Promise<void> {
  const [real, root] = await Promise.all([realpath(path), realpath(directory)]);
  if (real.startsWith(root + sep)) return;
  throw new TsbuildError(
    "CONTEXT_UNREADABLE",
    `tried to read the Dockerfile: ${given} leads out of the context`,
  );
}

async function exists(path: string): Promise<boolean> {
  try {
    await access(path, constants.F_OK);
    return true;
  } catch {
    return false;
  }
}

async function readText(path: string, shown: string = path): Promise<string> {
  try {
    await using file = await open(path, constants.O_RDONLY | constants.O_NONBLOCK);
    const { size } = await file.stat();
    if (size > MAX_DOCKERFILE) throw new Error(`it has ${size} bytes`);
    return await file.readFile("utf8");
  } catch (error) {
    const why = errnoOf(error) === "EISDIR" ? "it is a directory" : messageOf(error);
    throw new TsbuildError("CONTEXT_UNREADABLE", `tried to read the Dockerfile ${shown}: ${why}`, {
      cause: error,
    });
  }
}

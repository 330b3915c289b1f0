import { posix } from "node:path";
import { findIgnoreFile, findNonDirectory, openDirectory } from "../context/index.js";
import type { FileSource } from "../context/types.js";
import { TsbuildError } from "../errors.js";
import { formatPlatform, parsePlatform } from "../oci/platform.js";
import { parseReference } from "../oci/reference.js";
import type { NamedContext } from "../solver/types.js";
import { loadStatx } from "../worker/linux/statx.js";
import type { ContextFetcher } from "./contexts-fetch.js";
import { loadLayoutImage, parseLayoutReference } from "./contexts-layout.js";
import { mainPlace, placeOf, type RemotePlace } from "./contexts-place.js";
import type { BuildOptions } from "./options.js";

/** The main context as a directory of this machine. */
export interface MainContext {
  readonly directory: string;
  /** It came from elsewhere: what is in it is not to be trusted, and it is gone at the end of the build. */
  readonly fetched: boolean;
}

/** Fetches and unpacks what `context` names, where it is no directory. @throws TsbuildError USAGE, CONTEXT_UNREADABLE, STORE_FAILED */
export async function placeMainContext(
  options: Pick<BuildOptions, "context" | "contextSubPath" | "buildArgs" | "environment" | "git">,
  fetcher: ContextFetcher,
): Promise<MainContext> {
  const below = subPath(options.contextSubPath ?? "");
  const place = mainPlace(options);
  if (place.kind === "directory") {
    return { directory: below === "" ? place.path : `${place.path}/${below}`, fetched: false };
  }
  const top = await fetcher.directoryOf(asAsked(place, options), "context", place.kind !== "tar");
  // A link may lead out of what was fetched.
  const wrong = findNonDirectory(top, below);
  if (wrong === undefined)
    return { directory: below === "" ? top : `${top}/${below}`, fetched: true };
  throw new TsbuildError(
    "CONTEXT_UNREADABLE",
    `tried to open "${below}" of the context ${place.shown}: "${wrong}" is not a directory of it`,
  );
}

/** What Go reads as true. */
const TRUE: ReadonlySet<string> = new Set(["1", "t", "T", "true", "TRUE", "True"]);

/** BuildKit's build arguments for it; what the address itself says comes first. */
function asAsked(
  place: RemotePlace,
  { buildArgs, environment }: Pick<BuildOptions, "buildArgs" | "environment">,
): RemotePlace {
  if (place.kind !== "git") return place;
  const keep = TRUE.has(buildArgs?.["BUILDKIT_CONTEXT_KEEP_GIT_DIR"] ?? "");
  const isDated =
    (buildArgs?.["SOURCE_DATE_EPOCH"] ?? environment?.["SOURCE_DATE_EPOCH"] ?? "") !== "";
  const ref = {
    ...(keep ? { keepGitDir: true } : {}),
    // Else the files would have the time of the checkout.
    ...(isDated ? { mtime: "commit" as const } : {}),
    ...place.ref,
  };
  return { ...place, ref };
}

/** @throws TsbuildError USAGE */
function subPath(text: string): string {
  const cleaned = posix.join(".", text).replace(/^\/+|\/+$/g, "");
  if (cleaned !== ".." && !cleaned.startsWith("../")) return cleaned === "." ? "" : cleaned;
  throw new TsbuildError("USAGE", `the context's sub-path "${text}" leads out of the context`);
}

/** The main context: a directory with its ignore file. @throws TsbuildError CONTEXT_UNREADABLE */
export async function openContext(
  path: string,
  dockerfile: string | undefined,
  signal: AbortSignal,
): Promise<FileSource> {
  const ignoreFile = await findIgnoreFile(dockerfile, path);
  return openDirectory(path, { name: "context", signal, ignoreFile, statx: loadStatx });
}

/**
 * Named contexts by their lower-case name, and `::platform` of one that is for a platform alone; each is fetched when it
 * is first needed. @throws TsbuildError USAGE
 */
export function namedContexts(
  given: Readonly<Record<string, string>>,
  fetcher: ContextFetcher,
): ReadonlyMap<string, NamedContext> {
  return new Map(
    Object.entries(given).map(([name, value]) => [
      contextKey(name),
      namedContext(name, value, fetcher),
    ]),
  );
}

function contextKey(given: string): string {
  const [, name = given, platform] = /^(.*?)::(.*)$/s.exec(given) ?? [];
  const lower = name.toLowerCase();
  if (lower === "scratch" || lower === "context" || lower === "") {
    throw new TsbuildError("USAGE", `"${name}" cannot name a context: it is reserved`);
  }
  return platform === undefined ? lower : `${lower}::${formatPlatform(parsePlatform(platform))}`;
}

function namedContext(name: string, value: string, fetcher: ContextFetcher): NamedContext {
  const { signal } = fetcher;
  const [, kind, rest = ""] = /^(docker-image|oci-layout):\/\/(.+)$/s.exec(value) ?? [];
  if (kind === "docker-image") {
    if (rest !== "scratch") parseReference(rest);
    return { kind: "image", reference: rest };
  }
  if (kind === "oci-layout") {
    const reference = parseLayoutReference(rest);
    return { kind: "layout", load: (platform) => loadLayoutImage(reference, platform, signal) };
  }
  if (value.startsWith("input:")) {
    throw new TsbuildError(
      "USAGE",
      `context ${name}: input: is only known to BuildKit's frontends`,
      {
        hint: "give a directory, a git repository, an https:// address, docker-image:// or oci-layout://",
      },
    );
  }
  const place = placeOf(value, `context ${name}`);
  const open = async (): Promise<FileSource> => {
    const what = `context ${name}`;
    if (place.kind !== "directory") {
      return openDirectory(await fetcher.directoryOf(place, what, false), { name: what, signal });
    }
    // A named context has its own ignore file, if any; a Dockerfile's is for the main one.
    const ignoreFile = await findIgnoreFile(undefined, place.path);
    return openDirectory(place.path, { name: what, signal, ignoreFile, statx: loadStatx });
  };
  let opened: Promise<FileSource> | undefined;
  return { kind: "files", open: () => (opened ??= open()) };
}

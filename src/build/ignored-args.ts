import type { Dockerfile } from "../dockerfile/types.js";

const TRUE: ReadonlySet<string> = new Set(["1", "t", "T", "true", "TRUE", "True"]);
/** The frontend that tsbuild itself is in place of, from whatever registry. */
const DOCKERFILE_FRONTEND = /(?:^|\/)docker\/dockerfile(?:-upstream)?(?:[:@]|$)/;

/** What BuildKit would do because of a build argument or a directive, and a build here does not: a sentence each. */
export function ignoredArgs(
  buildArgs: Readonly<Record<string, string>>,
  { directives }: Pick<Dockerfile, "directives">,
): readonly string[] {
  const notices: string[] = [];
  if (TRUE.has(buildArgs["BUILDKIT_INLINE_CACHE"] ?? "")) {
    notices.push("BUILDKIT_INLINE_CACHE does nothing: the image carries no cache");
  }
  // A comment beside the name says nothing to BuildKit either.
  const given = buildArgs["BUILDKIT_SYNTAX"] ?? directives.syntax?.value ?? "";
  const [frontend = ""] = given.trim().split(/\s/);
  if (frontend !== "" && !DOCKERFILE_FRONTEND.test(frontend)) {
    notices.push(`the syntax ${frontend} is not loaded: the file is read as a Dockerfile`);
  }
  return notices;
}

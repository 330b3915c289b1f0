import { TsbuildError } from "../errors.js";
import {
  formatReference,
  parseReference,
  withDefaultTag,
  type Reference,
} from "../oci/reference.js";
import type { BuildOptions } from "./options.js";

export interface Destinations {
  /** What the image is called, in archives and result files. */
  readonly names: readonly Reference[];
  /** Those of them that it is pushed to. */
  readonly pushed: readonly Reference[];
  /** Repositories that the image is pushed to without a tag. */
  readonly byDigest: readonly Reference[];
}

/** Where the image goes by name. @throws TsbuildError USAGE for a wrong name, or when it goes nowhere at all */
export function destinationsOf(options: BuildOptions): Destinations {
  const own = (options.destinations ?? []).map(parseDestination);
  const images = (options.outputs ?? []).flatMap((output) =>
    output.type === "image" ? [{ push: false, byDigest: false, names: [], ...output }] : [],
  );
  const tagged = images
    .filter(({ byDigest }) => !byDigest)
    .map(({ push, names }) => ({ push, names: names.map(parseDestination) }));
  const untagged = images
    .filter(({ byDigest }) => byDigest)
    .map(({ push, names }) => ({ push, names: names.map(parseRepository) }));
  const names = unique([...own, ...tagged.flatMap((output) => output.names)]);
  requireDestination(options, [...names, ...untagged.flatMap((output) => output.names)]);
  if (options.push === false) return { names, pushed: [], byDigest: [] };
  const asked = (outputs: typeof tagged): Reference[] =>
    outputs.filter(({ push }) => push).flatMap((output) => output.names);
  return {
    names,
    pushed: unique([...own, ...asked(tagged)]),
    byDigest: unique(asked(untagged)),
  };
}

/** A destination is a tag: a digest cannot be chosen. @throws TsbuildError USAGE */
export function parseDestination(text: string): Reference {
  const reference = withDefaultTag(parseReference(text));
  if (reference.digest === undefined) return reference;
  throw new TsbuildError("USAGE", `"${text}" cannot be pushed to: a digest is not a name`, {
    hint: "use a tag: registry/repository:tag",
  });
}

function parseRepository(text: string): Reference {
  const reference = parseReference(text);
  if (reference.tag === undefined && reference.digest === undefined) return reference;
  throw new TsbuildError(
    "USAGE",
    `"${text}" cannot be pushed by digest: it has a tag or a digest`,
    {
      hint: "name the repository alone",
    },
  );
}

function unique(references: readonly Reference[]): readonly Reference[] {
  return [...new Map(references.map((one) => [formatReference(one), one])).values()];
}

function requireDestination(options: BuildOptions, names: readonly Reference[]): void {
  const writes = options.tarPath ?? options.ociLayoutPath;
  const files = options.outputs?.some(({ type }) => type !== "image") ?? false;
  if (names.length > 0 || options.push === false || writes !== undefined || files) return;
  throw new TsbuildError("USAGE", "the image has nowhere to go", {
    hint: "name a --destination or an --output, or write --no-push",
  });
}

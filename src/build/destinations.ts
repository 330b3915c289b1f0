import { TsbuildError } from "../errors.js";
import {
  formatReference,
  formatRepository,
  parseReference,
  withDefaultTag,
  type Reference,
} from "../oci/reference.js";
import type { Registry } from "../registry/types.js";
import type { BuildOptions } from "./options.js";

export interface Destinations {
  /** What the image is called, in archives and result files. */
  readonly names: readonly Reference[];
  /** Those of them that it is pushed to. */
  readonly pushed: readonly Reference[];
}

/** Where the image goes by name. @throws TsbuildError USAGE for a wrong name, or when it goes nowhere at all */
export function destinationsOf(options: BuildOptions): Destinations {
  const own = (options.destinations ?? []).map(parseDestination);
  const outputs = (options.outputs ?? []).flatMap((output) =>
    output.type === "image"
      ? [{ push: output.push ?? false, names: (output.names ?? []).map(parseDestination) }]
      : [],
  );
  const names = unique([...own, ...outputs.flatMap((output) => output.names)]);
  requireDestination(options, names);
  if (options.push === false) return { names, pushed: [] };
  const asked = outputs.filter(({ push }) => push);
  return { names, pushed: unique([...own, ...asked.flatMap((output) => output.names)]) };
}

/** A destination is a tag: a digest cannot be chosen. @throws TsbuildError USAGE */
function parseDestination(text: string): Reference {
  const reference = withDefaultTag(parseReference(text));
  if (reference.digest === undefined) return reference;
  throw new TsbuildError("USAGE", `"${text}" cannot be pushed to: a digest is not a name`, {
    hint: "use a tag: registry/repository:tag",
  });
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

/** A refusal is found before the build, not after it. */
export async function checkPush(
  destinations: readonly Reference[],
  registry: Registry,
  signal: AbortSignal,
): Promise<void> {
  const repositories = new Map(destinations.map((one) => [formatRepository(one), one]));
  for (const reference of repositories.values()) await registry.checkPush(reference, { signal });
}

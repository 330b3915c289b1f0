import { TsbuildError } from "../../errors.js";
import { parseReference, type Reference, withDefaultTag } from "../../oci/reference.js";
import type { StepKind } from "../../solver/cache/types.js";
import { destinationsOf } from "../destinations.js";
import type { BuildOptions, CacheSource, CacheTarget } from "../options.js";
import { parseDuration } from "../store-size.js";
import type { KeyBookOptions } from "./key-book.js";
import { DEFAULT_TTL } from "./warmed.js";

const LAYOUT = "oci:";

/** A place by its name, before it is opened. */
export type PlaceName =
  | { readonly kind: "registry"; readonly reference: Reference }
  | { readonly kind: "layout"; readonly path: string };

/** The cache of a repository, with a page for each key. */
export interface RepositoryPlan extends KeyBookOptions {
  readonly place: PlaceName;
}

/** `undefined`: there is none. @throws TsbuildError USAGE */
export function repositoryPlan(options: BuildOptions): RepositoryPlan | undefined {
  const { registryCache: given } = options;
  if (given === undefined || options.cache === false) return undefined;
  const { runLayers = true, copyLayers = false, ttl = DEFAULT_TTL, push = true } = given;
  const kept: Readonly<Record<StepKind, boolean>> = {
    RUN: runLayers,
    WORKDIR: runLayers,
    COPY: copyLayers,
    ADD: copyLayers,
  };
  return {
    place: placeOf(options, given.repository),
    keeps: (kind) => kept[kind],
    ttl: parseDuration(ttl, "the cache's ttl"),
    puts: push,
  };
}

function placeOf(options: BuildOptions, repository: string | undefined): PlaceName {
  if (repository?.startsWith(LAYOUT) === true) {
    const path = repository.slice(LAYOUT.length);
    if (path !== "") return { kind: "layout", path };
    throw new TsbuildError("USAGE", `the cache "${repository}" has no path`, {
      hint: "expected oci:DIRECTORY",
    });
  }
  if (repository !== undefined) {
    const reference = parseReference(repository);
    if (reference.tag === undefined && reference.digest === undefined) {
      return { kind: "registry", reference };
    }
    throw new TsbuildError("USAGE", `the cache "${repository}" has a tag or a digest`, {
      hint: "name a repository: its tags are the keys",
    });
  }
  const { names, pushed, byDigest } = destinationsOf(options);
  // What is only looked into may belong to an image that is not pushed this time.
  const others = options.registryCache?.push === false ? names : [];
  const [first] = [...pushed, ...byDigest, ...others];
  if (first !== undefined) {
    const name = `${first.repository}/cache`;
    return { kind: "registry", reference: { registry: first.registry, repository: name } };
  }
  throw new TsbuildError("USAGE", "the cache has no repository, since nothing is pushed", {
    hint: "name one with --cache-repo=REPOSITORY, or a directory with --cache-repo=oci:PATH",
  });
}

export interface PagePlan {
  readonly place: PlaceName;
  readonly name: { readonly tag: string } | { readonly digest: NonNullable<Reference["digest"]> };
}

/** Where records are read from besides. @throws TsbuildError USAGE */
export function sourcePlan(source: CacheSource): PagePlan {
  if (source.type === "local") {
    return { place: { kind: "layout", path: source.src }, name: { tag: source.tag ?? "latest" } };
  }
  const reference = withDefaultTag(parseReference(source.ref));
  const { digest, tag = "latest" } = reference;
  return {
    place: { kind: "registry", reference },
    name: digest === undefined ? { tag } : { digest },
  };
}

/** Where records are written at the end. @throws TsbuildError USAGE */
export function targetPlan(target: Exclude<CacheTarget, { readonly type: "inline" }>): {
  readonly place: PlaceName;
  readonly tag: string;
} {
  if (target.type === "local") {
    return { place: { kind: "layout", path: target.dest }, tag: target.tag ?? "latest" };
  }
  const reference = withDefaultTag(parseReference(target.ref));
  if (reference.tag !== undefined && reference.digest === undefined) {
    return { place: { kind: "registry", reference }, tag: reference.tag };
  }
  throw new TsbuildError("USAGE", `the cache "${target.ref}" has a digest`, {
    hint: "use a tag: a digest cannot be chosen",
  });
}

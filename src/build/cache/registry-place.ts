import { TsbuildError } from "../../errors.js";
import { familiarName, type Reference } from "../../oci/reference.js";
import { isUnknownRepository, RegistryError } from "../../registry/index.js";
import type { Registry } from "../../registry/types.js";
import type { Repositories } from "../repositories.js";
import type { Uploads } from "../uploads.js";
import type { CachePlace, PageName } from "./place.js";

/** Bytes of a config. */
const MAX_BLOB = 8 * 1024 * 1024;

export interface RegistryPlaceInput {
  readonly registry: Registry;
  readonly uploads: Uploads;
  readonly repositories: Repositories;
}

/**
 * Pages in a repository. After a first page that is not there it is asked whether there is a repository at all: one that
 * does not exist is not asked for more.
 */
export function registryPlace(
  { registry: host, repository }: Reference,
  { registry, uploads, repositories }: RegistryPlaceInput,
): CachePlace {
  const here: Reference = { registry: host, repository };
  let first: Promise<"found" | "missing" | "unknown"> | undefined;
  let isAbsent: Promise<boolean> | undefined;
  const ask = async (name: PageName, signal: AbortSignal): Promise<Uint8Array | undefined> => {
    try {
      const call = { signal, isOptional: true };
      return (await registry.manifest({ ...here, ...name }, call)).bytes;
    } catch (error) {
      if (!(error instanceof RegistryError)) throw error;
      const isUnknown = isUnknownRepository(error);
      if (error.status !== 404 && !isUnknown) throw error;
      if (isUnknown) isAbsent = Promise.resolve(true);
      return undefined;
    }
  };
  return {
    name: familiarName(here),
    async manifest(name, signal) {
      if (first === undefined) {
        const asked = ask(name, signal);
        first = asked.then(
          (bytes) => (bytes === undefined ? "missing" : "found"),
          () => "unknown",
        );
        return asked;
      }
      if ((await first) === "missing") isAbsent ??= repositories.isNew(here);
      return (await isAbsent) === true ? undefined : ask(name, signal);
    },
    async read(blob, signal) {
      if (blob.size > MAX_BLOB) {
        throw new TsbuildError(
          "REGISTRY_UNAVAILABLE",
          `tried to read ${blob.digest} of ${familiarName(here)}: it has ${blob.size} bytes`,
        );
      }
      const parts: Uint8Array[] = [];
      for await (const part of registry.blob(here, blob, { signal })) parts.push(part);
      return Buffer.concat(parts);
    },
    locate: () => ({ origin: here }),
    has: (layer, signal) => registry.hasBlob(here, layer, { signal }),
    async put(tag, { config, manifest, layers }, signal) {
      const ofConfig = { open: () => once(config.bytes), isNew: true };
      await Promise.all([
        ...layers.map((layer) => uploads.layer(layer, here)),
        uploads.blob(config.descriptor, ofConfig, here),
      ]);
      const { bytes, descriptor } = manifest;
      await registry.pushManifest({ ...here, tag }, bytes, descriptor.mediaType, { signal });
    },
  };
}

async function* once(bytes: Uint8Array): AsyncIterable<Uint8Array> {
  yield bytes;
}

import { TsbuildError } from "../../errors.js";
import { familiarName, type Reference } from "../../oci/reference.js";
import { RegistryError } from "../../registry/index.js";
import type { Registry } from "../../registry/types.js";
import type { Uploads } from "../uploads.js";
import type { CachePlace, PageName } from "./place.js";

/** Bytes of a config. */
const MAX_BLOB = 8 * 1024 * 1024;

export interface RegistryPlaceInput {
  readonly registry: Registry;
  readonly uploads: Uploads;
}

/** Pages in a repository. One that does not exist is asked for once. */
export function registryPlace(
  { registry: host, repository }: Reference,
  { registry, uploads }: RegistryPlaceInput,
): CachePlace {
  const here: Reference = { registry: host, repository };
  let first: Promise<unknown> | undefined;
  let isAbsent = false;
  const ask = async (name: PageName, signal: AbortSignal): Promise<Uint8Array | undefined> => {
    try {
      const call = { signal, isOptional: true };
      return (await registry.manifest({ ...here, ...name }, call)).bytes;
    } catch (error) {
      if (!(error instanceof RegistryError) || error.status !== 404) throw error;
      isAbsent ||= error.faults.some(({ code }) => code === "NAME_UNKNOWN");
      return undefined;
    }
  };
  return {
    name: familiarName(here),
    async manifest(name, signal) {
      if (first === undefined) {
        const asked = ask(name, signal);
        first = asked.catch(() => undefined);
        return asked;
      }
      await first;
      return isAbsent ? undefined : ask(name, signal);
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

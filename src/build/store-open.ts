import { stat } from "node:fs/promises";
import { join } from "node:path";
import { openStore, type Namespaces } from "../store/index.js";
import { openUpkeep, type Upkeep } from "../worker/upkeep.js";
import { findStorePlace } from "./store-place.js";

/** Which store. */
export interface StoreOptions {
  /** As for a build. */
  readonly store?: string;
  /** Where `TSBUILD_STORE`, `XDG_CACHE_HOME`, `HOME` and `TSBUILD_KEEP_STORAGE` are read from. */
  readonly environment?: Readonly<Record<string, string | undefined>>;
  readonly signal?: AbortSignal;
}

/** A store that somebody looks after. */
export interface TendedStore {
  readonly root: string;
  /** Of this process, which builds nothing. */
  readonly staging: string;
  readonly namespaces: Namespaces;
  readonly signal: AbortSignal;
}

/** Opens the store for as long as the work takes. `undefined`: there is none, and none is made. @throws TsbuildError */
export async function tendStore<T>(
  { store: given, environment = {}, signal: stop }: StoreOptions,
  work: (store: TendedStore) => Promise<T>,
): Promise<{ readonly store: string; readonly result: T | undefined }> {
  const signal = stop ?? new AbortController().signal;
  const { directory } = await findStorePlace(given, environment);
  const isThere = await stat(join(directory, "version")).then(
    () => true,
    () => false,
  );
  if (!isThere) return { store: directory, result: undefined };
  await using store = await openStore(directory, signal);
  const namespaces = openNamespaces(directory);
  const result = await work({ root: directory, staging: store.staging, namespaces, signal });
  return { store: directory, result };
}

/** Starts a process with the ids of an id map for each thing that is asked for. */
export function openNamespaces(root: string): Namespaces {
  const inside = async <T>(
    idMap: string,
    signal: AbortSignal,
    work: (upkeep: Upkeep) => Promise<T>,
  ): Promise<T | undefined> => {
    const upkeep = await openUpkeep(idMap, root, signal);
    if (upkeep === undefined) return undefined;
    try {
      return await work(upkeep);
    } finally {
      await upkeep[Symbol.asyncDispose]();
    }
  };
  return {
    measure: (idMap, paths, signal) =>
      inside(idMap, signal, (upkeep) => upkeep.measure(paths, signal)),
    remove: (idMap, paths, signal) =>
      inside(idMap, signal, (upkeep) => upkeep.remove(paths, signal)),
  };
}

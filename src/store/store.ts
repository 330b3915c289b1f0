import { mkdir, open, readFile, rename } from "node:fs/promises";
import { dirname, isAbsolute, join } from "node:path";
import { TsbuildError, errnoOf } from "../errors.js";
import { writeFileAtomic } from "../internal/atomic-file.js";
import { HashThreads } from "../internal/hash-threads.js";
import { openUses, type Uses } from "../internal/in-use.js";
import { type DiffId, hexOf } from "../oci/digest.js";
import { admitTo } from "./admit.js";
import { createBlobStore } from "./blobs.js";
import { createDownloads } from "./downloads.js";
import { storeFailure } from "./failure.js";
import { createRecords } from "./records.js";
import { createStatCache } from "./stat-cache.js";
import { abandonedRemovals } from "./removals.js";
import { createStaging, GIT_MARK, listStaging } from "./staging.js";
import type { Store } from "./types.js";
import { writeLedger } from "./usage.js";

/** Of the layout below the root. Another number means that another tsbuild may not read what is there. */
const VERSION = "1";
const ID_MAP_NAME = /^[A-Za-z0-9][A-Za-z0-9._-]{0,127}$/;

async function inStore<T>(action: string, path: string, work: () => Promise<T>): Promise<T> {
  try {
    return await work();
  } catch (error) {
    throw storeFailure(action, path, error);
  }
}

async function checkVersion(root: string): Promise<void> {
  const path = join(root, "version");
  let text: string;
  try {
    text = await readFile(path, "utf8");
  } catch (error) {
    if (errnoOf(error) !== "ENOENT") throw storeFailure("read the store's version", path, error);
    await inStore("write the store's version", path, () => writeFileAtomic(path, `${VERSION}\n`));
    // From here on its growth can be told.
    await writeLedger(root, []);
    return;
  }
  if (text.trim() === VERSION) return;
  throw new TsbuildError(
    "STORE_FAILED",
    `tried to open the store at ${root}: it has version "${text.trim().slice(0, 20)}", this tsbuild reads ${VERSION}`,
    { hint: "choose another directory with --store=<directory>, or delete this one" },
  );
}

/** Only its owner may enter: layers hold set-id programs, which a user of the machine must not be able to start. */
async function makeDirectory(path: string): Promise<void> {
  await inStore("make a directory of the store", path, () =>
    mkdir(path, { recursive: true, mode: 0o700 }),
  );
}

/** Of what differs on disk by the id map that it was made under. */
async function directoryOf(parent: string, idMap: string): Promise<string> {
  if (!ID_MAP_NAME.test(idMap)) {
    throw new TsbuildError("INTERNAL", `tried to name a directory of ${parent}: "${idMap}"`);
  }
  const path = join(parent, idMap);
  await makeDirectory(path);
  return path;
}

/** Which repositories it will be, and how long, only those who use them know: all are marked. */
async function useRepositories(path: string, uses: Uses): Promise<string> {
  await makeDirectory(path);
  await inStore("use the git repositories", path, () => uses.use(path, join(path, GIT_MARK)));
  return path;
}

async function abandonedBelow(root: string, staging: string): Promise<readonly string[]> {
  return [...(await listStaging(staging)).abandoned, ...(await abandonedRemovals(root))];
}

/** Renames without a flush would leave an empty index after a power cut, and nothing could tell: it has no digest. */
async function adoptIndex(file: string, path: string): Promise<void> {
  const handle = await open(file, "r");
  try {
    const now = new Date();
    await handle.utimes(now, now).catch(() => undefined);
    await handle.datasync();
  } finally {
    await handle.close();
  }
  await rename(file, path);
}

async function closeAll(...opened: readonly AsyncDisposable[]): Promise<void> {
  for (const one of opened) await one[Symbol.asyncDispose]();
}

/**
 * Opens the store for one build; makes it when it is absent. Several processes may have it open. Disposing deletes the
 * build's staging directory, except for what belongs to other ids.
 * @param root absolute
 * @throws TsbuildError STORE_FAILED
 */
export async function openStore(root: string, signal: AbortSignal): Promise<Store> {
  if (!isAbsolute(root)) {
    throw new TsbuildError("INTERNAL", `tried to open the store at "${root}": it is not absolute`);
  }
  signal.throwIfAborted();
  const directory = {
    blobs: join(root, "blobs", "sha256"),
    indexes: join(root, "indexes"),
    layers: join(root, "layers"),
    caches: join(root, "caches"),
    staging: join(root, "staging"),
  };
  await makeDirectory(root);
  await checkVersion(root);
  for (const path of Object.values(directory)) await makeDirectory(path);
  const staging = await createStaging(directory.staging);
  const uses = openUses(staging.directory);
  const hashing = new HashThreads();
  const blobs = createBlobStore(directory.blobs, staging.path, { uses, hashing });
  const indexPath = (diffId: DiffId): string => join(directory.indexes, hexOf(diffId));

  return {
    ...blobs,
    root,
    hashing,
    staging: staging.directory,
    stagingPath: staging.path,
    layersDirectory: (idMap) => directoryOf(directory.layers, idMap),
    cachesDirectory: (idMap) => directoryOf(directory.caches, idMap),
    async findIndex(diffId) {
      const path = indexPath(diffId);
      return inStore(`find the index of layer ${diffId}`, path, async () =>
        (await uses.use(path)) === undefined ? undefined : path,
      );
    },
    adoptIndex: (file, diffId) =>
      inStore(`store the index of layer ${diffId}`, indexPath(diffId), async () => {
        await adoptIndex(file, indexPath(diffId));
        await uses.kept(indexPath(diffId));
      }),
    records: createRecords(join(root, "records"), staging.path),
    statCache: (context) => createStatCache(join(root, "stat"), context, staging.path),
    downloads: createDownloads(join(root, "downloads"), blobs, uses),
    gitDirectory: () => useRepositories(join(root, "git"), uses),
    async admit(owner, idMap) {
      const { blobs: blobDirectory, layers, caches } = directory;
      await admitTo(
        {
          passages: [root, dirname(blobDirectory), ...Object.values(directory)],
          blobs: blobDirectory,
          rooms: [await directoryOf(layers, idMap), await directoryOf(caches, idMap)],
          staging: staging.directory,
        },
        owner,
      );
      return root;
    },
    abandoned: () => abandonedBelow(root, directory.staging),
    [Symbol.asyncDispose]: () => closeAll(hashing, staging),
  };
}

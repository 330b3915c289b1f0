import { chmod, chown, lchown, lstat, readdir, stat } from "node:fs/promises";
import { join } from "node:path";
import { storeFailure } from "./failure.js";

/** Its owner may do everything, the group may pass. */
const PASSABLE = 0o710;
const READABLE = 0o644;
const SHARED = 0o770;

/** The directories of a store that somebody is let into. */
export interface Doors {
  /** From the root down, to be passed through: what is in them has modes of its own. */
  readonly passages: readonly string[];
  /** Whose files have to be readable: those of older versions are not. */
  readonly blobs: string;
  /** To be owned. */
  readonly rooms: readonly string[];
  /** To be owned with what is in it already. */
  readonly staging: string;
}

/**
 * Lets root of a namespace, who is `owner` out here, into a store of ours: by its group through the passages, and as
 * the owner of the rooms. Nobody else gains anything. @throws TsbuildError STORE_FAILED
 */
export async function admitTo(
  { passages, blobs, rooms, staging }: Doors,
  { uid, gid }: Owner,
): Promise<void> {
  for (const path of passages) {
    await open(path, async () => {
      await chown(path, -1, gid);
      await chmod(path, PASSABLE);
    });
  }
  await open(blobs, () => makeReadable(blobs));
  for (const path of rooms) await open(path, () => chown(path, uid, gid));
  await open(staging, async () => {
    for (const name of await readdir(staging)) await give(join(staging, name), { uid, gid });
    // By the group we keep what is no longer ours: without CAP_DAC_OVERRIDE root is nobody special.
    await chmod(staging, SHARED);
    await chown(staging, uid, process.getegid?.() ?? 0);
  });
}

interface Owner {
  readonly uid: number;
  readonly gid: number;
}

async function give(path: string, owner: Owner): Promise<void> {
  await lchown(path, owner.uid, owner.gid);
  const found = await lstat(path);
  if (!found.isDirectory()) return;
  for (const name of await readdir(path)) await give(join(path, name), owner);
}

async function makeReadable(directory: string): Promise<void> {
  for (const name of await readdir(directory)) {
    const path = join(directory, name);
    const found = await stat(path);
    if ((found.mode & READABLE) !== READABLE) await chmod(path, READABLE);
  }
}

async function open(path: string, work: () => Promise<void>): Promise<void> {
  try {
    await work();
  } catch (error) {
    throw storeFailure("open the store to the users of a namespace", path, error);
  }
}

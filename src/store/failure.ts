import { TsbuildError, errnoOf, messageOf } from "../errors.js";

const FULL = "free space on that filesystem, or choose another directory";
const DENIED = "choose a directory that this user can write";
const HINTS: Readonly<Record<string, string>> = {
  ENOSPC: FULL,
  EDQUOT: FULL,
  EROFS: DENIED,
  EACCES: DENIED,
  EPERM: DENIED,
  ENOTDIR: "a part of that path is a file; choose another one",
  EIO: "the disk reports errors; choose a directory on another one",
  EXDEV: "the directory has to be one filesystem: mount nothing inside it",
};

/** What a failed system call becomes: STORE_FAILED with the path and a hint by its errno. Our own errors stay as they are. */
export function failure(action: string, path: string, error: unknown, option?: string): Error {
  if (error instanceof TsbuildError) return error;
  const known = HINTS[errnoOf(error) ?? ""];
  const hint =
    known === undefined || option === undefined ? known : `${known} with ${option}=<directory>`;
  return new TsbuildError("STORE_FAILED", `tried to ${action} at ${path}: ${messageOf(error)}`, {
    cause: error,
    ...(hint === undefined ? {} : { hint }),
  });
}

/** As {@link failure}, for the store itself. */
export function storeFailure(action: string, path: string, error: unknown): Error {
  return failure(action, path, error, "--store");
}

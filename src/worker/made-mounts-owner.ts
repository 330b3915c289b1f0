import { chownSync } from "node:fs";
import { errnoOf, TsbuildError } from "../errors.js";

/** Gives a file away. Where one id is all there is, it stays with that one. @throws TsbuildError HOST_UNSUPPORTED */
export function chownMapped(
  path: string,
  { uid, gid, target }: { readonly uid: number; readonly gid: number; readonly target: string },
  singleId: boolean,
): void {
  try {
    chownSync(path, uid, gid);
  } catch (error) {
    const errno = errnoOf(error);
    if (errno !== "EINVAL" && errno !== "EPERM") throw error;
    if (singleId) return;
    throw new TsbuildError(
      "HOST_UNSUPPORTED",
      `tried to mount ${target}: this host's namespace has no id ${uid}:${gid}`,
      { cause: error, hint: "more subordinate ids in /etc/subuid and /etc/subgid would allow it" },
    );
  }
}

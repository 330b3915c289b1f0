import { errnoOf } from "../errors.js";

/** For an error's options: what to do about a write that failed for want of space; nothing for every other cause. */
export function diskFullHint(cause: unknown): { readonly hint?: string } {
  const errno = errnoOf(cause);
  return errno === "ENOSPC" || errno === "EDQUOT"
    ? {
        hint: "free space on that filesystem, or choose another directory with --store=<directory>",
      }
    : {};
}

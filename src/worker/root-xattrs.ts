import type { FileCalls } from "./linux/files.js";
import { decodeName } from "../layer/path-bytes.js";
import type { FsPath } from "./root-names.js";

/** Marks a directory that hides what the layers below have there (Documentation/filesystems/overlayfs.rst, with userxattr). */
export const OPAQUE = "user.overlay.opaque";
/** "y" */
export const OPAQUE_VALUE: Uint8Array = Buffer.of(0x79);
/** Ours, on the root of an unpacked layer whose tar says nothing about the root. The kernel hides and ignores it. */
export const IMPLIED_ROOT = "user.overlay.tsbuild-implied-root";

const OVERLAY_PREFIX = "user.overlay.";
const TRUSTED_OVERLAY_PREFIX = "trusted.overlay.";
const ESCAPED_PREFIX = "user.overlay.overlay.";
/** What a layer carries. Labels of the host (security.selinux) and the kernel's own (system.*) mean nothing elsewhere. */
const KEPT = ["user.", "trusted.", "system.posix_acl_"];
const CAPABILITY = "security.capability";

/** How an image's attribute is called in a lower directory: the kernel takes `user.overlay.*` for its own. */
export function diskXattrName(name: string): string {
  return name.startsWith(OVERLAY_PREFIX)
    ? ESCAPED_PREFIX + name.slice(OVERLAY_PREFIX.length)
    : name;
}

/** The image's name of an attribute on disk; `undefined` for what belongs to the mount or the host. */
function imageXattrName(name: string, form: "overlay" | "plain"): string | undefined {
  if (name !== CAPABILITY && !KEPT.some((prefix) => name.startsWith(prefix))) return undefined;
  if (form === "plain") return name;
  if (name.startsWith(ESCAPED_PREFIX)) return OVERLAY_PREFIX + name.slice(ESCAPED_PREFIX.length);
  if (name.startsWith(OVERLAY_PREFIX) || name.startsWith(TRUSTED_OVERLAY_PREFIX)) return undefined;
  return name;
}

export interface LiveXattrs {
  /** Those that a layer carries, sorted by name. */
  readonly xattrs: ReadonlyMap<string, Uint8Array>;
  /** Whether an overlay mount marked the directory opaque. */
  readonly opaque: boolean;
}

const NONE: LiveXattrs = { xattrs: new Map(), opaque: false };

/** Reads them inside the namespace, where the kernel shows file capabilities without the namespace's own root id. */
export function readXattrs(calls: FileCalls, path: FsPath, form: "overlay" | "plain"): LiveXattrs {
  const names = calls.listXattrs(path);
  if (names.length === 0) return NONE;
  const found: [string, Uint8Array][] = [];
  let opaque = false;
  for (const raw of names) {
    const onDisk = decodeName(raw);
    if (onDisk === OPAQUE && form === "overlay") opaque = true;
    const name = imageXattrName(onDisk, form);
    const value = name === undefined ? undefined : calls.getXattr(path, raw);
    if (name !== undefined && value !== undefined) found.push([name, value]);
  }
  return { xattrs: new Map(found.sort(([a], [b]) => (a < b ? -1 : 1))), opaque };
}

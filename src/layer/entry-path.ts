/** image-spec/layer.md, Whiteouts. */
export const WHITEOUT_PREFIX = ".wh.";
/** Hides everything that lower layers have in the directory it stands in. */
export const OPAQUE_NAME = ".wh..wh..opq";
/** Book-keeping of aufs in old layers (`.wh..wh.plnk`, `.wh..wh.aufs`): never content. */
const AUFS_PREFIX = ".wh..wh.";

/**
 * An archive's name as a path of the contracts: relative, without `.`, `..` and doubled or trailing slashes; the root
 * is "", and a name that climbs above it stays there, as with containerd. `undefined` when the name holds a NUL.
 */
export function cleanPath(name: string): string | undefined {
  if (isClean(name)) return name;
  if (name.includes("\0")) return undefined;
  const parts: string[] = [];
  for (const part of name.split("/")) {
    if (part === "" || part === ".") continue;
    if (part === "..") parts.pop();
    else parts.push(part);
  }
  return parts.join("/");
}

/** What an entry of a layer's tar is about. Whiteouts speak of the path that they hide. */
export type EntryRole =
  | { readonly kind: "entry" }
  | { readonly kind: "whiteout"; readonly path: string }
  | { readonly kind: "opaque"; readonly path: string }
  | { readonly kind: "metadata" }
  /** `.wh.` alone names nothing. */
  | { readonly kind: "nameless" };

const ENTRY: EntryRole = { kind: "entry" };

/** Reads the role from the last component of a clean path. */
export function entryRole(path: string): EntryRole {
  if (!path.includes(WHITEOUT_PREFIX)) return ENTRY;
  const name = nameOf(path);
  const parent = parentOf(path);
  if (name === OPAQUE_NAME) return { kind: "opaque", path: parent };
  if (name.startsWith(AUFS_PREFIX) || path.startsWith(AUFS_PREFIX)) return { kind: "metadata" };
  if (!name.startsWith(WHITEOUT_PREFIX)) return ENTRY;
  const hidden = name.slice(WHITEOUT_PREFIX.length);
  if (hidden === "" || hidden === "." || hidden === "..") return { kind: "nameless" };
  return { kind: "whiteout", path: joinPath(parent, hidden) };
}

export function parentOf(path: string): string {
  const slash = path.lastIndexOf("/");
  return slash < 0 ? "" : path.slice(0, slash);
}

export function nameOf(path: string): string {
  return path.slice(path.lastIndexOf("/") + 1);
}

export function joinPath(directory: string, name: string): string {
  return directory === "" ? name : `${directory}/${name}`;
}

/** Cheap test for the common case: no component needs a change. */
function isClean(name: string): boolean {
  if (name.length === 0) return true;
  let start = 0;
  for (let i = 0; i <= name.length; i++) {
    const code = i < name.length ? name.charCodeAt(i) : 0x2f;
    if (code === 0) return false;
    if (code !== 0x2f) continue;
    const length = i - start;
    if (length === 0) return false;
    if (
      name.charCodeAt(start) === 0x2e &&
      (length === 1 || (length === 2 && name.charCodeAt(start + 1) === 0x2e))
    )
      return false;
    start = i + 1;
  }
  return true;
}

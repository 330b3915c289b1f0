import { decodeName, encodeName } from "../layer/path-bytes.js";

/** What `fs` functions and our system calls take: a Buffer, without a trailing NUL, where the name is no UTF-8. */
export type FsPath = string | Buffer;

const ESCAPED = /[\udc80-\udcff]/u;
const REPLACEMENT = "\ufffd";

/** A path of the contracts (`layer/path-bytes.ts`) for a system call. */
export function fsPath(path: string): FsPath {
  return ESCAPED.test(path) ? encodeName(path) : path;
}

/** A relative path as the calls take it: the root is ".". */
export function atRoot(path: string): FsPath {
  return path === "" ? "." : fsPath(path);
}

/** Names of a directory from Node's two ways of reading it: text is faster, and tells when it is not the truth. */
export function exactNames(read: {
  text(): readonly string[];
  bytes(): readonly Uint8Array[];
}): readonly string[] {
  const names = read.text();
  return names.some((name) => name.includes(REPLACEMENT)) ? read.bytes().map(decodeName) : names;
}

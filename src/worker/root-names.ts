/**
 * File names are bytes, paths here are strings. Names that are UTF-8 are themselves; each byte of a name that is not
 * becomes the lone surrogate U+DC00 + byte (as in Python's `surrogateescape`), which no UTF-8 name can contain: nothing
 * is lost, and two names never become one.
 */

/** What `fs` functions and our system calls take. Without a trailing NUL. */
export type FsPath = string | Buffer;

const LONE_ESCAPE = /[\udc80-\udcff]/u;
const REPLACEMENT = "\ufffd";

/** The bytes of a path for a system call; the string itself when that is the same. */
export function fsPath(path: string): FsPath {
  return LONE_ESCAPE.test(path) ? pathBytes(path) : path;
}

/** The bytes of a path. */
export function pathBytes(path: string): Buffer {
  if (!LONE_ESCAPE.test(path)) return Buffer.from(path, "utf8");
  const parts: Buffer[] = [];
  for (const character of path) {
    const code = character.charCodeAt(0);
    const escaped = character.length === 1 && code >= 0xdc80 && code <= 0xdcff;
    parts.push(escaped ? Buffer.from([code - 0xdc00]) : Buffer.from(character, "utf8"));
  }
  return Buffer.concat(parts);
}

/** The string for bytes that the kernel gave. */
export function pathFromBytes(bytes: Uint8Array): string {
  const buffer = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const text = buffer.toString("utf8");
  // A real U+FFFD in the name survives the comparison; only what decoding replaced does not.
  if (!text.includes(REPLACEMENT) || Buffer.from(text, "utf8").equals(buffer)) return text;
  let escaped = "";
  let at = 0;
  while (at < buffer.length) {
    const length = sequenceLength(buffer, at);
    escaped +=
      length === 0
        ? String.fromCharCode(0xdc00 + (buffer[at] ?? 0))
        : buffer.toString("utf8", at, at + length);
    at += Math.max(1, length);
  }
  return escaped;
}

/** Bytes of the valid UTF-8 sequence at `at`, 0 when there is none. */
function sequenceLength(buffer: Buffer, at: number): number {
  const lead = buffer[at] ?? 0;
  const length = lead < 0x80 ? 1 : lead < 0xc2 ? 0 : lead < 0xe0 ? 2 : lead < 0xf0 ? 3 : 4;
  if (length <= 1) return length;
  const slice = buffer.subarray(at, at + length);
  if (slice.length < length) return 0;
  return Buffer.from(slice.toString("utf8"), "utf8").equals(slice) ? length : 0;
}

/** Compares by bytes. UTF-16 order differs from it above U+FFFF and for the escapes, so those take the slow way. */
export function comparePaths(a: string, b: string): number {
  if (!/[\ud800-\uffff]/.test(a) && !/[\ud800-\uffff]/.test(b)) return a < b ? -1 : a > b ? 1 : 0;
  return Buffer.compare(pathBytes(a), pathBytes(b));
}

/** The directory of a relative path; "" for what stands in the root. */
export function parentOf(path: string): string {
  const slash = path.lastIndexOf("/");
  return slash < 0 ? "" : path.slice(0, slash);
}

/** A relative path as the calls take it: the root is ".". */
export function atRoot(path: string): FsPath {
  return path === "" ? "." : fsPath(path);
}

import { posix } from "node:path";
import { TsbuildError } from "../errors.js";

const HINT = "name a directory on drive C:, such as C:\\app";

/**
 * The new working directory, always with `/` between its parts: a relative path goes below the current one, an absolute
 * one of Linux is kept as it is written, and one of Windows loses its drive, which can only be C:.
 * @throws TsbuildError DOCKERFILE_INVALID for a path that no Windows image can have
 */
export function joinWorkdir(current: string, path: string, os: string): string {
  const parent = fromDrive(current === "" ? "/" : current, os);
  const next = path === "" ? parent : fromDrive(path, os);
  if (next.startsWith("/")) return next;
  const joined = posix.join("/", parent, next);
  return joined.length > 1 ? joined.replace(/\/$/, "") : joined;
}

/** Whether a working directory does not depend on the one before. A path that no Windows image can have does. */
export function isAbsoluteWorkdir(path: string, os: string): boolean {
  if (os !== "windows") return path.startsWith("/");
  return /^(?:c:)?[\\/](?![\\/])/i.test(path);
}

function fromDrive(path: string, os: string): string {
  return os === "windows" ? clean(withoutDrive(path, os)) : path;
}

/**
 * A path of the image with `/` between its parts and, of Windows, without its drive; how it ends is kept.
 * @throws TsbuildError DOCKERFILE_INVALID for a path that no Windows image can have
 */
export function withoutDrive(path: string, os: string): string {
  if (os !== "windows") return path;
  const slashed = path.replaceAll("\\", "/");
  const refuse = (why: string): never => {
    throw new TsbuildError("DOCKERFILE_INVALID", why, { hint: HINT });
  };
  if (/^.:$/.test(slashed)) refuse(`no relative path specified in "${path}"`);
  if (slashed.startsWith("//")) refuse("UNC paths are not supported");
  const colon = slashed.indexOf(":");
  if (colon < 0) return slashed;
  if (slashed.slice(0, colon).toLowerCase() !== "c") {
    refuse("the specified path is not on the system drive (C:)");
  }
  return slashed.slice(colon + 1);
}

function clean(path: string): string {
  const normal = posix.normalize(path);
  return normal.length > 1 ? normal.replace(/\/$/, "") : normal;
}

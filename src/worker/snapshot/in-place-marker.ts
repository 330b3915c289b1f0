import { closeSync, fstatSync, openSync, readFileSync, statSync, writeSync } from "node:fs";
import { TsbuildError } from "../../errors.js";
import { loadLibc } from "../linux/libc.js";
import { openLockCalls } from "../linux/lock.js";

/** Says that what is in "/" was put there by builds. In the builder's own directory. */
export function markerOf(home: string): string {
  return `${home}/.in-place`;
}

/** Says so of this root, from now on. */
export function markTaken(home: string): void {
  const fd = openSync(markerOf(home), "w", 0o600);
  try {
    writeSync(fd, identityOf(fd));
  } finally {
    closeSync(fd);
  }
}

/** Whether a build has taken this root over before. */
export function isTakenOver(home: string): boolean {
  let fd: number;
  try {
    fd = openSync(markerOf(home), "r");
  } catch {
    return false;
  }
  try {
    return readFileSync(fd, "utf8") === identityOf(fd);
  } finally {
    closeSync(fd);
  }
}

/**
 * Of this root and this file: a marker that was copied elsewhere, or lies on a volume of several containers, says
 * nothing. The device is left out, since a container that starts again has another one.
 */
function identityOf(marker: number): string {
  const { ino, birthtimeNs } = fstatSync(marker, { bigint: true });
  return `${statSync("/", { bigint: true }).ino}:${ino}:${birthtimeNs}\n`;
}

/** Takes "/" for this process until it is disposed or dies. @throws TsbuildError HOST_UNSUPPORTED when another has it */
export function lockRoot(home: string): Disposable {
  const fd = openSync(`${home}/.in-place.lock`, "a", 0o600);
  if (openLockCalls(loadLibc()).tryLock(fd, "exclusive")) {
    return { [Symbol.dispose]: () => closeSync(fd) };
  }
  closeSync(fd);
  throw new TsbuildError("HOST_UNSUPPORTED", "tried to take /: another build here has it", {
    hint: "build one after the other, or each in a container of its own",
  });
}

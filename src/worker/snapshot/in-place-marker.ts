import { closeSync, openSync, readFileSync, statSync } from "node:fs";
import { TsbuildError } from "../../errors.js";
import { loadLibc } from "../linux/libc.js";
import { openLockCalls } from "../linux/lock.js";

/** Says that what is in "/" was put there by builds. In the builder's own directory. */
export function markerOf(home: string): string {
  return `${home}/.in-place`;
}

/** Of this root and no other: a marker that was copied elsewhere says nothing. */
export function rootIdentity(): string {
  const { dev, ino } = statSync("/", { bigint: true });
  return `${dev}:${ino}\n`;
}

/** Whether a build has taken this root over before. */
export function isTakenOver(home: string): boolean {
  try {
    return readFileSync(markerOf(home), "utf8") === rootIdentity();
  } catch {
    return false;
  }
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

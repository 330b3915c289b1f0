import { readFileSync, statSync } from "node:fs";

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

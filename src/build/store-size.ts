import { TsbuildError } from "../errors.js";

const UNITS = "bkmgtp";
const SIZE = /^(\d+(?:\.\d+)?) ?([bkmgtp])?(?:(?<=[kmgtp])i?b)?$/i;
const PERCENT = /^(\d+(?:\.\d+)?)%$/;
const PART = /(\d+(?:\.\d+)?)(ms|s|m|h|d|w)/gy;
const SECOND_MS = 1000;
const LENGTHS_MS: Readonly<Record<string, number>> = {
  ms: 1,
  s: SECOND_MS,
  m: 60 * SECOND_MS,
  h: 3600 * SECOND_MS,
  d: 24 * 3600 * SECOND_MS,
  w: 7 * 24 * 3600 * SECOND_MS,
};

/**
 * Bytes: a number, docker's spelling (`10g`, `512MB`, powers of 1024), or a part of the disk (`20%`).
 * @param what is asked for so, in messages
 * @throws TsbuildError USAGE
 */
export function parseSize(given: number | string, what: string, diskBytes: number): number {
  if (typeof given === "number") {
    if (Number.isSafeInteger(given) && given >= 0) return given;
    throw usage(what, String(given), "expected bytes");
  }
  const [, percent] = PERCENT.exec(given) ?? [];
  if (percent !== undefined) return Math.trunc((diskBytes * Number(percent)) / 100);
  const [, number, unit = "b"] = SIZE.exec(given) ?? [];
  if (number !== undefined) {
    return Math.trunc(Number(number) * 1024 ** UNITS.indexOf(unit.toLowerCase()));
  }
  throw usage(what, given, "expected bytes, 10GB, 500m or 20% of the disk");
}

/** Milliseconds: a number, or Go's spelling (`48h`, `1h30m`) with days and weeks too. @throws TsbuildError USAGE */
export function parseDuration(given: number | string, what: string): number {
  if (typeof given === "number") {
    if (Number.isFinite(given) && given >= 0) return given;
    throw usage(what, String(given), "expected milliseconds");
  }
  let sum = 0;
  let end = 0;
  for (const part of given.matchAll(PART)) {
    sum += Number(part[1]) * (LENGTHS_MS[part[2] ?? ""] ?? 0);
    end = part.index + part[0].length;
  }
  if (given === "" || end !== given.length) throw usage(what, given, "expected 30m, 48h or 7d");
  return sum;
}

function usage(what: string, given: string, hint: string): TsbuildError {
  return new TsbuildError("USAGE", `${what} cannot be "${given}"`, { hint });
}

import type { BuildOptions } from "../index.js";
import { UsageError } from "./usage-error.js";

type Ulimit = NonNullable<BuildOptions["ulimits"]>[number];

const UNITS = "bkmgtp";
/** Docker's names of limits. */
const NAMES: readonly string[] =
  "core cpu data fsize locks memlock msgqueue nice nofile nproc rss rtprio rttime sigpending stack".split(
    " ",
  );

/** Docker's spelling of a size: bytes, or a number with k, m, g, t or p. @throws UsageError */
export function shmSize(text: string | undefined): number | undefined {
  if (text === undefined) return undefined;
  const [, number = "", unit = "b"] =
    /^(\d+(?:\.\d+)?) ?([bkmgtp])?(?:(?<=[kmgtp])i?b)?$/i.exec(text) ?? [];
  const size = Math.trunc(Number(number) * 1024 ** UNITS.indexOf(unit.toLowerCase()));
  if (number !== "" && size > 0) return size;
  throw new UsageError(`--shm-size cannot be "${text}"`, "expected bytes, or 64m, 1g");
}

/** Docker's `name=soft[:hard]`. @throws UsageError */
export function ulimit(text: string): Ulimit {
  const [, name = "", soft = "", hard = soft] = /^([^=]*)=(-?\d+)(?::(-?\d+))?$/.exec(text) ?? [];
  if (NAMES.includes(name)) {
    return { name: name as Ulimit["name"], soft: Number(soft), hard: Number(hard) };
  }
  const hint = `expected NAME=SOFT[:HARD] with one of ${NAMES.join(", ")}`;
  throw new UsageError(`--ulimit cannot be "${text}"`, hint);
}

import type { BuildOptions } from "../index.js";
import { booleanOf } from "./booleans.js";
import { UsageError } from "./usage-error.js";

const EXPECTED =
  "expected branch=NAME, single-branch=BOOL, depth=N, recurse-submodules=BOOL or insecure-skip-tls=BOOL";
const KEYS: ReadonlySet<string> = new Set([
  "branch",
  "single-branch",
  "depth",
  "recurse-submodules",
  "insecure-skip-tls",
]);
/** A comma may be part of a branch's name. */
const NEXT = /,(?=(?:branch|single-branch|depth|recurse-submodules|insecure-skip-tls)=)/;
/** How much is fetched: it is one commit here, whatever they say. */
const OF_HISTORY = ["single-branch", "depth"] as const;

/** Kaniko's `--git`, a key each or several with commas between; the last of a key counts. @throws UsageError */
export function gitContext(given: readonly string[]): BuildOptions["git"] {
  if (given.length === 0) return undefined;
  const values = valuesOf(given);
  const branch = values.get("branch") ?? "";
  const recurseSubmodules = switchOf(values, "recurse-submodules");
  const insecureSkipTls = switchOf(values, "insecure-skip-tls");
  switchOf(values, "single-branch");
  const depth = values.get("depth");
  if (depth !== undefined && !/^\d+$/.test(depth)) {
    throw new UsageError(`--git: depth is a whole number, not "${depth}"`);
  }
  return {
    ...(branch === "" ? {} : { branch }),
    ...(recurseSubmodules === undefined ? {} : { recurseSubmodules }),
    ...(insecureSkipTls === undefined ? {} : { insecureSkipTls }),
  };
}

/** What was asked for and changes nothing, a line each. */
export function idleGitKeys(given: readonly string[]): readonly string[] {
  const values = valuesOf(given);
  return OF_HISTORY.filter((key) => values.has(key)).map(
    (key) => `--git ${key} makes no difference: nothing but the commit itself is fetched`,
  );
}

function valuesOf(given: readonly string[]): ReadonlyMap<string, string> {
  const values = new Map<string, string>();
  for (const pair of given.flatMap((text) => text.split(NEXT))) {
    const equals = pair.indexOf("=");
    const key = equals < 0 ? pair : pair.slice(0, equals);
    if (equals < 0 || !KEYS.has(key))
      throw new UsageError(`--git has no key "${key}" with a value`, EXPECTED);
    values.set(key, pair.slice(equals + 1));
  }
  return values;
}

function switchOf(values: ReadonlyMap<string, string>, key: string): boolean | undefined {
  const text = values.get(key);
  if (text === undefined) return undefined;
  const known = booleanOf(text);
  if (known !== undefined) return known;
  throw new UsageError(`--git: ${key} is true or false, not "${text}"`);
}

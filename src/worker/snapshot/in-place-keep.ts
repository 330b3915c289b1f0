import { readFileSync } from "node:fs";
import { type CompiledGlob, compileGlob, matchGlob } from "../../internal/path-match.js";
import { decodeName } from "../../layer/path-bytes.js";
import type { InPlaceOptions } from "../types.js";

/** What in "/" is not the stage's. */
export interface KeepRules {
  /** Absolute; each name of one may be a pattern of Go's `filepath.Match`. What is below one is kept with it. */
  readonly paths: readonly string[];
}

/** Asked with paths of changes: relative to "/", without symlinks. */
export interface Keep {
  /** Never deleted, written by a layer or put into one. */
  readonly isKept: (path: string) => boolean;
  /** A directory that has to stay, for something kept is below it or may come to be there. */
  readonly holdsKept: (path: string) => boolean;
}

/** Where deleted names are kept for a step's time when no better place is on their filesystem. */
export const ASIDE = "/.tsbuild-aside";

/**
 * Files that a container's runtime gives it: mostly mounts, but where they are not, deleting them would cut this very
 * process off from the network, or take away the sign that this is a container.
 */
const RUNTIME_FILES = [
  "/etc/hosts",
  "/etc/hostname",
  "/etc/resolv.conf",
  "/.dockerenv",
  "/run/.containerenv",
];

/** Every mount, the builder's own files, and what was asked for. */
export function keepRules({ home, ignored }: Pick<InPlaceOptions, "home" | "ignored">): KeepRules {
  const mounts = mountPoints(readFileSync("/proc/self/mountinfo"));
  const all = [...mounts, home, ...ignored, ...RUNTIME_FILES, ASIDE];
  return { paths: [...new Set(all)].filter((path) => path !== "/") };
}

/** Where something is mounted, without "/" itself (proc_pid_mountinfo(5)). */
export function mountPoints(mountinfo: Buffer): readonly string[] {
  const points = mountinfo
    .toString("latin1")
    .split("\n")
    .flatMap((line) => line.split(" ")[4] ?? [])
    .map((path) => path.replace(/\\([0-7]{3})/g, (_, octal: string) => byteOf(octal)))
    .map((path) => decodeName(Buffer.from(path, "latin1")));
  return [...new Set(points)].filter((path) => path !== "/");
}

function byteOf(octal: string): string {
  return String.fromCharCode(Number.parseInt(octal, 8));
}

interface Rule {
  readonly names: readonly CompiledGlob[];
}

/** @throws BadPatternError */
export function openKeep({ paths }: KeepRules): Keep {
  const byFirst = new Map<string, Rule[]>();
  const anywhere: Rule[] = [];
  for (const path of paths) {
    const names = path.split("/").filter((name) => name !== "" && name !== ".");
    const rule = { names: names.map((name) => compileGlob(name, false)) };
    const first = rule.names[0];
    if (first === undefined) continue;
    if (first.literal === undefined) anywhere.push(rule);
    else byFirst.set(first.literal, [...(byFirst.get(first.literal) ?? []), rule]);
  }
  const NONE: readonly Rule[] = [];
  const rulesFor = (path: string): readonly Rule[] => {
    const slash = path.indexOf("/");
    const known = byFirst.get(slash < 0 ? path : path.slice(0, slash)) ?? NONE;
    return anywhere.length === 0 ? known : [...known, ...anywhere];
  };
  return {
    isKept(path) {
      const rules = rulesFor(path);
      if (rules.length === 0 || path === "") return false;
      const parts = path.split("/");
      return rules.some(
        ({ names }) =>
          names.length <= parts.length && names.every((glob, at) => fits(glob, parts[at])),
      );
    },
    holdsKept(path) {
      if (path === "") return true;
      const rules = rulesFor(path);
      if (rules.length === 0) return false;
      const parts = path.split("/");
      return rules.some(
        ({ names }) =>
          names.length > parts.length && parts.every((part, at) => fits(names[at], part)),
      );
    },
  };
}

function fits(glob: CompiledGlob | undefined, name: string | undefined): boolean {
  return glob !== undefined && name !== undefined && matchGlob(glob, name);
}

/** The conformance cases as `fixtures/conformance/cases.json` has them; its `schema` says what each word means. */
import { readFileSync } from "node:fs";
import { join } from "node:path";

/** A file of a context; a bare string is the content of one. */
export type TreeEntry =
  | string
  | {
      readonly content?: string;
      readonly base64?: string;
      readonly dir?: true;
      readonly symlink?: string;
      /** A path of the same tree. */
      readonly hardlink?: string;
      /** Octal. */
      readonly mode?: string;
      readonly uid?: number;
      readonly gid?: number;
      /** Seconds. */
      readonly mtime?: number;
    };

export type Tree = Readonly<Record<string, TreeEntry>>;

/** What the image must hold at a path; only the given keys are compared. */
export interface FileWant {
  readonly absent?: boolean;
  readonly type?: string;
  readonly content?: string;
  readonly contentRegex?: string;
  readonly notContentRegex?: string;
  /** Octal. */
  readonly mode?: string;
  readonly uid?: number;
  readonly gid?: number;
  readonly mtime?: number;
  readonly linkname?: string;
  readonly sameFileAs?: string;
}

export interface HistoryWant {
  readonly re?: string;
  readonly empty?: boolean;
  readonly created?: string;
}

/** A page of the case's own HTTP server. */
export interface Page {
  readonly content?: string;
  readonly base64?: string;
  readonly status?: number;
  readonly headers?: Readonly<Record<string, string>>;
}

/** One step of making a repository: a commit of files, a tag, a new branch, or a checkout. */
export interface GitStep {
  readonly files?: Tree;
  readonly message?: string;
  readonly tag?: string;
  readonly branch?: string;
  readonly checkout?: string;
}

export interface Case {
  readonly id: string;
  /** Dotted group, as `copy.chown`. */
  readonly feature: string;
  readonly source: string;
  readonly tier: string;
  readonly note?: string;
  readonly requires?: readonly string[];
  /** Absent when the context holds it. */
  readonly dockerfile?: string;
  readonly dockerfileName?: string;
  readonly dockerfileOutside?: boolean;
  readonly dockerfileSibling?: Tree;
  readonly context?: Tree;
  readonly extra?: Readonly<Record<string, TreeEntry | { readonly files: Tree }>>;
  readonly args: readonly string[];
  readonly env?: Readonly<Record<string, string>>;
  readonly http?: Readonly<Record<string, Page>>;
  readonly git?: Readonly<Record<string, readonly GitStep[]>>;
  readonly expectSuccess: boolean;
  readonly errorRegex?: string;
  readonly warnRegex?: readonly string[];
  readonly files?: Readonly<Record<string, FileWant>>;
  readonly exactTree?: readonly string[];
  readonly config?: Readonly<Record<string, unknown>>;
  readonly image?: Readonly<Record<string, string>>;
  readonly layers?: number;
  readonly history?: readonly HistoryWant[];
  readonly historyNotRegex?: string;
  readonly platform?: string;
  readonly indexPlatforms?: readonly string[];
}

/** Every key that the runner acts on: a case with another one would pass without being checked. */
const CASE_KEYS =
  "id feature source tier note requires dockerfile dockerfileName dockerfileOutside dockerfileSibling context extra args env http git expectSuccess errorRegex warnRegex files exactTree config image layers history historyNotRegex platform indexPlatforms";
const FILE_KEYS =
  "absent type content contentRegex notContentRegex mode uid gid mtime linkname sameFileAs";
const TREE_KEYS = "content base64 dir symlink hardlink mode uid gid mtime";
const HISTORY_KEYS = "re empty created";

/** Reads the cases of a checkout. Throws where one says something that the runner would not check. */
export function readCases(checkout: string): readonly Case[] {
  const path = join(checkout, "fixtures/conformance/cases.json");
  const { cases } = JSON.parse(readFileSync(path, "utf8")) as { cases: readonly Case[] };
  for (const one of cases) {
    refuseUnknown(one.id, CASE_KEYS, one);
    for (const want of Object.values(one.files ?? {})) refuseUnknown(one.id, FILE_KEYS, want);
    for (const want of one.history ?? []) refuseUnknown(one.id, HISTORY_KEYS, want);
    for (const entry of Object.values(one.context ?? {})) {
      if (typeof entry !== "string") refuseUnknown(one.id, TREE_KEYS, entry);
    }
  }
  return cases;
}

function refuseUnknown(id: string, known: string, value: object): void {
  const words = new Set(known.split(" "));
  const unknown = Object.keys(value).filter((key) => !words.has(key));
  if (unknown.length > 0) throw new Error(`case ${id}: nothing checks ${unknown.join(", ")}`);
}

import { createHash } from "node:crypto";
import { lstatSync, type BigIntStats, type Dirent } from "node:fs";
import { setImmediate } from "node:timers/promises";
import { isSettled, settledBefore } from "../internal/settled.js";
import { contentDigest } from "../oci/content-digest.js";
import type { FileEntry } from "../oci/tree.js";
import type { DigestMemory } from "./types.js";

/** What a walk needs of the tree. */
export interface WalkedTree {
  lstat(path: string): FileEntry | undefined;
  identity(path: string): string | undefined;
  /** What of a directory is there, in any order. */
  entries(path: string): readonly Dirent[];
  /** On this machine. */
  absolute(path: string): string;
}

export interface DirectoryDigestOptions {
  readonly memory: DigestMemory;
  readonly signal: AbortSignal;
}

const CHUNK = 256 * 1024;
/** Milliseconds of work before others get a turn. */
const TURN = 20;
/** Numbers that tell one state of a file from the next. */
const NUMBERS = 7;

/**
 * What is below a directory: names, types, modes, attributes and content, never times. A directory in which nothing has
 * changed since the last time is known by the numbers of its files alone.
 * @returns `undefined` where files have several names: which of them are one file is not for a directory to say
 */
export async function digestDirectory(
  tree: WalkedTree,
  path: string,
  options: DirectoryDigestOptions,
): Promise<string | undefined> {
  const walk: Walk = { tree, ...options, buffer: new Uint8Array(CHUNK), turn: performance.now() };
  return walkDirectory(walk, path);
}

interface Walk extends DirectoryDigestOptions {
  readonly tree: WalkedTree;
  readonly buffer: Uint8Array;
  turn: number;
}

interface Child {
  readonly name: string;
  /** Of a directory: what is below it. */
  readonly below: string;
}

async function walkDirectory(walk: Walk, path: string): Promise<string | undefined> {
  if (performance.now() - walk.turn > TURN) {
    await setImmediate();
    walk.signal.throwIfAborted();
    walk.turn = performance.now();
  }
  const { tree, memory } = walk;
  const entries = tree.entries(path).toSorted((a, b) => (a.name < b.name ? -1 : 1));
  const numbers = new BigInt64Array(entries.length * NUMBERS);
  const clock = settledBefore(Date.now());
  const children: Child[] = [];
  let settled = true;
  for (const [at, { name }] of entries.entries()) {
    const child = path === "" ? name : `${path}/${name}`;
    const stats = lstatSync(tree.absolute(child), { bigint: true, throwIfNoEntry: false });
    if (stats === undefined || (stats.nlink > 1n && stats.isFile())) return undefined;
    const isDirectory = stats.isDirectory();
    const below = isDirectory ? await walkDirectory(walk, child) : "";
    if (below === undefined) return undefined;
    note(numbers, at * NUMBERS, stats, isDirectory);
    // A directory's own times say nothing: what is in it does.
    settled &&= isDirectory || (isSettled(stats.mtimeNs, clock) && isSettled(stats.ctimeNs, clock));
    children.push({ name, below });
  }
  const names = children.map(({ name, below }) => `${name}\0${below}`).join("\0");
  const state = createHash("sha256").update(names).update(new Uint8Array(numbers.buffer));
  const key = state.digest("hex");
  const known = memory.directories.get(key);
  if (known !== undefined) return known;
  const digest = contentOf(walk, path, children);
  if (settled) memory.directories.set(key, digest, true);
  return digest;
}

function note(numbers: BigInt64Array, at: number, stats: BigIntStats, isDirectory: boolean): void {
  numbers[at] = stats.mode;
  if (isDirectory) return;
  numbers[at + 1] = stats.dev;
  numbers[at + 2] = stats.ino;
  numbers[at + 3] = stats.size;
  numbers[at + 4] = stats.mtimeNs;
  numbers[at + 5] = stats.ctimeNs;
  numbers[at + 6] = stats.rdev;
}

function contentOf(walk: Walk, path: string, children: readonly Child[]): string {
  const hash = createHash("sha256");
  for (const { name, below } of children) {
    const child = path === "" ? name : `${path}/${name}`;
    const entry = walk.tree.lstat(child);
    const line = entry === undefined ? "" : lineOf(entry, below || fileDigest(walk, child, entry));
    const text = `${name}\0${line}`;
    hash.update(`${Buffer.byteLength(text)}:`).update(text);
  }
  return hash.digest("hex");
}

function lineOf(entry: FileEntry, content: string): string {
  const { type, mode, linkTarget = "", devMajor = 0, devMinor = 0, xattrs } = entry;
  const attributes = [...xattrs].map(([name, value]) => [
    name,
    Buffer.from(value).toString("base64"),
  ]);
  return JSON.stringify([type, mode, content, linkTarget, devMajor, devMinor, attributes]);
}

function fileDigest(
  { tree, memory, buffer, signal }: Walk,
  path: string,
  entry: FileEntry,
): string {
  const reading = { files: memory.files, buffer, signal };
  return contentDigest(entry, tree.identity(path), reading);
}

import { createHash, hash } from "node:crypto";
import { setImmediate } from "node:timers/promises";
import type { Statx } from "../internal/statx.js";
import { contentDigest } from "../oci/content-digest.js";
import type { FileEntry } from "../oci/tree.js";
import { FileStates, isStateSettled, STATE_WORDS } from "./file-states.js";
import type { DigestMemory } from "./types.js";

/** What a walk needs of the tree. */
export interface WalkedTree {
  lstat(path: string): FileEntry | undefined;
  identity(path: string): string | undefined;
  /** What of a directory is there, in any order. @param isReal as the walk has just seen */
  names(path: string, isReal: boolean): string[];
  /** On this machine. */
  absolute(path: string): string;
}

export interface DirectoryDigestOptions {
  readonly memory: DigestMemory;
  readonly statx: () => Statx | undefined;
  readonly signal: AbortSignal;
}

/** Bytes of a file that are read at once. */
const CHUNK = 256 * 1024;
/** Files of a directory whose states are noted at once. */
const NOTED = 256;
/** Bytes for their names. The kernel's limit for one is 255; where it is more than here, there is no fast way. */
const NAMES = NOTED * 512;
/** Before states and names: how many files, and how many bytes of names. */
const HEADER_WORDS = 2;
const NOTE_WORDS = HEADER_WORDS + NOTED * STATE_WORDS;
/** Milliseconds of work before others get a turn. */
const TURN = 20;

/**
 * What is below a directory: names, types, modes, attributes and content, never times. A directory in which nothing has
 * changed since the last time is known by the states of its files alone.
 * @returns `undefined` where files have several names: which of them are one file is not for a directory to say
 */
export async function digestDirectory(
  tree: WalkedTree,
  path: string,
  options: DirectoryDigestOptions,
): Promise<string | undefined> {
  const bytes = new Uint8Array(NOTE_WORDS * Uint32Array.BYTES_PER_ELEMENT + NAMES);
  const walk: Walk = {
    tree,
    ...options,
    states: new FileStates(options.statx),
    words: new Uint32Array(bytes.buffer, 0, NOTE_WORDS),
    note: Buffer.from(bytes.buffer),
    buffer: new Uint8Array(CHUNK),
    turn: performance.now(),
  };
  return walkDirectory(walk, path, false);
}

interface Walk extends DirectoryDigestOptions {
  readonly tree: WalkedTree;
  readonly states: FileStates;
  /** The states of some files, and after them their names; only until the walk goes on. */
  readonly note: Buffer;
  /** The states in it. */
  readonly words: Uint32Array;
  readonly buffer: Uint8Array;
  turn: number;
}

async function walkDirectory(
  walk: Walk,
  path: string,
  isReal: boolean,
): Promise<string | undefined> {
  if (performance.now() - walk.turn > TURN) {
    await setImmediate();
    walk.signal.throwIfAborted();
    walk.turn = performance.now();
  }
  const names = walk.tree.names(path, isReal).sort();
  const noted = noteFiles(walk, path, names);
  if (noted === undefined) return undefined;
  const below = new Map<string, string>();
  for (const name of noted.directories) {
    const digest = await walkDirectory(walk, join(path, name), true);
    if (digest === undefined) return undefined;
    below.set(name, digest);
  }
  const { state, isSettled } = noted;
  const key = below.size === 0 ? state : hash("sha256", [state, ...below.values()].join(" "));
  const known = walk.memory.directories.get(key);
  if (known !== undefined) return known;
  const digest = contentOf(walk, path, names, below);
  if (isSettled) walk.memory.directories.set(key, digest, true);
  return digest;
}

interface Noted {
  /** Of the names, and what tells the states of the files apart. */
  readonly state: string;
  readonly directories: readonly string[];
  /** Whether a later change of a file must show in its state. A directory's own times say nothing: what is in it does. */
  readonly isSettled: boolean;
}

/** Looks at each file of a directory. `undefined` where one is gone or has several names. */
function noteFiles(walk: Walk, path: string, names: readonly string[]): Noted | undefined {
  const { words, note, states } = walk;
  const base = walk.tree.absolute(path);
  const directories: string[] = [];
  const now = Date.now();
  const whole = names.length > NOTED ? createHash("sha256") : undefined;
  let isSettled = true;
  for (let from = 0; ; from += NOTED) {
    const some = whole === undefined ? names : names.slice(from, from + NOTED);
    let at = HEADER_WORDS;
    for (const name of some) {
      const look = states.look(`${base}/${name}`, words, at);
      if (look === "gone" || look === "linked") return undefined;
      if (look === "directory") directories.push(name);
      else isSettled &&= isStateSettled(words, at, now);
      at += STATE_WORDS;
    }
    const start = at * Uint32Array.BYTES_PER_ELEMENT;
    const text = some.join("\0");
    if (Buffer.byteLength(text) > NAMES) return undefined;
    words[0] = some.length;
    words[1] = note.write(text, start);
    const bytes = note.subarray(0, start + words[1]);
    if (whole === undefined) return { state: hash("sha256", bytes), directories, isSettled };
    whole.update(bytes);
    if (from + NOTED >= names.length) {
      return { state: whole.digest("hex"), directories, isSettled };
    }
  }
}

function join(directory: string, name: string): string {
  return directory === "" ? name : `${directory}/${name}`;
}

function contentOf(
  walk: Walk,
  path: string,
  names: readonly string[],
  below: ReadonlyMap<string, string>,
): string {
  const whole = createHash("sha256");
  for (const name of names) {
    const child = join(path, name);
    const entry = walk.tree.lstat(child);
    const content = below.get(name) ?? (entry && fileDigest(walk, child, entry)) ?? "";
    const text = `${name}\0${entry === undefined ? "" : lineOf(entry, content)}`;
    whole.update(`${Buffer.byteLength(text)}:`).update(text);
  }
  return whole.digest("hex");
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

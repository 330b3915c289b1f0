import { createHash, type Hash } from "node:crypto";
import { setImmediate } from "node:timers/promises";
import type { FileEntry } from "../../oci/tree.js";
import type { SelectedFile } from "../copy/index.js";
import type { ContentDigest, StatCache } from "./types.js";

/** Files whose own digests are remembered, for messages. */
const MAX_NAMED = 20_000;
const NAMED_DIGITS = 16;
const CHUNK = 256 * 1024;
/** Milliseconds of hashing before others get a turn. */
const TURN = 20;
/**
 * A file that was changed that little before it was read may be changed once more without its times telling: clocks of
 * filesystems go in ticks. Milliseconds.
 */
const FRESH = 100;
/** The same for filesystems that know whole seconds alone (FAT has two). */
const FRESH_SECONDS = 2_000;

export interface DigestOptions {
  readonly stats: StatCache;
  readonly signal: AbortSignal;
}

/**
 * What the files are: names, types, modes, owners, attributes, content; never their times, nor where in their source they
 * stand. Files that have not changed since they were read last are not read again.
 */
export async function digestFiles(
  files: Iterable<SelectedFile>,
  { stats, signal }: DigestOptions,
): Promise<ContentDigest> {
  const whole = createHash("sha256");
  const named = new Map<string, string>();
  const groups = new Map<string, string>();
  const buffer = new Uint8Array(CHUNK);
  let count = 0;
  let turn = performance.now();
  for (const file of files) {
    if (performance.now() - turn > TURN) {
      await setImmediate();
      signal.throwIfAborted();
      turn = performance.now();
    }
    const line = lineOf(file, contentOf(file, { stats, buffer, signal }), groups);
    whole.update(`${Buffer.byteLength(line)}:`).update(line);
    count += 1;
    if (count > MAX_NAMED) named.clear();
    else named.set(file.path, short(line));
  }
  const digest = whole.digest("hex");
  return count > MAX_NAMED ? { digest } : { digest, files: named };
}

function lineOf(
  { item, path, entry }: SelectedFile,
  content: string,
  groups: Map<string, string>,
): string {
  const { type, mode, uid, gid, linkTarget = "", devMajor = 0, devMinor = 0 } = entry;
  const fixed = `${item}\0${path}\0${type} ${mode} ${uid} ${gid}\0${content}`;
  const isPlain = type === "file" && entry.linkGroup === undefined && entry.xattrs.size === 0;
  if (isPlain) return fixed;
  const others = [linkTarget, devMajor, devMinor, linkOf(entry, path, groups), ...xattrsOf(entry)];
  return `${fixed}\0${JSON.stringify(others)}`;
}

/** The first name of what is one file with several. */
function linkOf({ linkGroup }: FileEntry, path: string, groups: Map<string, string>): string {
  if (linkGroup === undefined) return "";
  const first = groups.get(linkGroup);
  if (first === undefined) groups.set(linkGroup, path);
  return first ?? "";
}

function xattrsOf({ xattrs }: FileEntry): readonly string[] {
  return [...xattrs].map(([name, value]) => `${name}=${Buffer.from(value).toString("base64")}`);
}

interface Reading extends DigestOptions {
  readonly buffer: Uint8Array;
}

function contentOf({ entry, from }: SelectedFile, reading: Reading): string {
  if (entry.type !== "file" || entry.open === undefined) return "";
  const { stats } = reading;
  const identity = from?.source.identity?.(from.path);
  const known = identity === undefined ? undefined : stats.get(identity);
  if (known !== undefined) return known;
  const now = Date.now();
  const digest = hashContent(entry, reading);
  if (identity !== undefined && isSettled(identity, now)) stats.set(identity, digest);
  return digest;
}

function hashContent(entry: FileEntry, { buffer, signal }: Reading): string {
  const hash: Hash = createHash("sha256");
  const reader = entry.open?.();
  if (reader === undefined) return "";
  try {
    for (let count = reader.read(buffer); count > 0; count = reader.read(buffer)) {
      signal.throwIfAborted();
      hash.update(buffer.subarray(0, count));
    }
  } finally {
    reader[Symbol.dispose]();
  }
  return hash.digest("hex");
}

/** Whether a later change must show in the file's times. @param now when reading began, in milliseconds */
function isSettled(identity: string, now: number): boolean {
  const times = identity.split(":").slice(-2).map(BigInt);
  return times.every((time) => {
    const wholeSeconds = time % 1_000_000_000n === 0n;
    const fresh = wholeSeconds ? FRESH_SECONDS : FRESH;
    return time / 1_000_000n + BigInt(fresh) < BigInt(now);
  });
}

function short(line: string): string {
  return createHash("sha256").update(line).digest("hex").slice(0, NAMED_DIGITS);
}

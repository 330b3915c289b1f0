import { createHash } from "node:crypto";
import { setImmediate } from "node:timers/promises";
import type { DigestMemory } from "../../context/types.js";
import { contentDigest } from "../../oci/content-digest.js";
import type { FileEntry } from "../../oci/tree.js";
import { selectFiles, type CopyItem, type SelectedFile } from "../copy/index.js";
import { selectItem } from "../copy/plan-copy.js";
import type { ContentDigest } from "./types.js";

/** Files whose own digests are remembered, for messages. */
const MAX_NAMED = 20_000;
const NAMED_DIGITS = 16;
const CHUNK = 256 * 1024;
/** Milliseconds of hashing before others get a turn. */
const TURN = 20;
export interface DigestOptions {
  readonly memory: DigestMemory;
  readonly signal: AbortSignal;
}

/**
 * What a COPY reads: names, types, modes, owners, attributes, content; never times, nor where in its source it stands. Files
 * that have not changed since they were read last are not read again.
 */
export async function digestItems(
  items: readonly CopyItem[],
  exclude: readonly string[],
  options: DigestOptions,
): Promise<ContentDigest> {
  const files = (): Promise<ReadonlyMap<string, string> | undefined> =>
    digestFiles(selectFiles(items, exclude), { ...options, limit: MAX_NAMED }).then(
      (found) => found.files,
    );
  const whole = exclude.length === 0 ? await digestDirectories(items, options) : undefined;
  if (whole !== undefined) return { digest: whole, files };
  const found = await digestFiles(selectFiles(items, exclude), options);
  const digest = createHash("sha256")
    .update(`${shapeOf(items)} ${found.digest}`)
    .digest("hex");
  return { digest, files: () => Promise.resolve(found.files) };
}

/**
 * What an item does though it has no file: the first one makes the destination, an empty directory wants that to be one.
 * A wildcard that finds nothing does neither. Without how many stand in a row, since files are seen anyway.
 */
function shapeOf(items: readonly CopyItem[]): string {
  let shape = "";
  for (const item of items) {
    const kind = item.kind === "archive" ? "file" : selectItem(item, undefined).kind;
    if (!shape.endsWith(kind)) shape += ` ${kind}`;
  }
  return shape;
}

/** Directories as a whole, where their source knows a way; `undefined` where one does not. */
async function digestDirectories(
  items: readonly CopyItem[],
  { memory, signal }: DigestOptions,
): Promise<string | undefined> {
  const hash = createHash("sha256");
  for (const item of items) {
    if (item.kind !== "path") return undefined;
    const selected = selectItem(item, undefined);
    if (selected.kind !== "tree") return undefined;
    const below = await item.source.digestBelow?.(selected.selection.base, memory, signal);
    if (below === undefined) return undefined;
    hash.update(`directory ${below}\n`);
  }
  return hash.digest("hex");
}

interface FilesDigest {
  readonly digest: string;
  readonly files: ReadonlyMap<string, string> | undefined;
}

/** @param limit of files after which nobody wants to know more */
async function digestFiles(
  files: Iterable<SelectedFile>,
  { memory, signal, limit = Infinity }: DigestOptions & { readonly limit?: number },
): Promise<FilesDigest> {
  const whole = createHash("sha256");
  const named = new Map<string, string>();
  const groups = new Map<string, string>();
  const reading = { files: memory.files, buffer: new Uint8Array(CHUNK), signal };
  let count = 0;
  let turn = performance.now();
  for (const file of files) {
    if (performance.now() - turn > TURN) {
      await setImmediate();
      signal.throwIfAborted();
      turn = performance.now();
    }
    const { entry, from } = file;
    const content = contentDigest(entry, from?.source.identity?.(from.path), reading);
    const line = lineOf(file, content, groups);
    whole.update(`${Buffer.byteLength(line)}:`).update(line);
    count += 1;
    if (count > limit) break;
    if (count > MAX_NAMED) named.clear();
    else named.set(file.path, short(line));
  }
  return { digest: whole.digest("hex"), files: count > MAX_NAMED ? undefined : named };
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

function short(line: string): string {
  return createHash("sha256").update(line).digest("hex").slice(0, NAMED_DIGITS);
}

import type { FileSource } from "../../../src/context/types.js";
import type { Change } from "../../../src/layer/types.js";
import type { FileEntry, FileReader, Tree } from "../../../src/oci/tree.js";
import { expandSource, planCopy } from "../../../src/solver/copy/index.js";
import type { CopyItem, CopyRequest } from "../../../src/solver/copy/types.js";

export const { signal } = new AbortController();
/** The time of what the tests' builds make. */
export const NOW = 1_700_000_000_000_000_000n;

export interface Spec {
  readonly type?: FileEntry["type"];
  readonly content?: string;
  readonly link?: string;
  readonly mode?: number;
  readonly uid?: number;
  readonly gid?: number;
  readonly mtimeNs?: bigint;
  readonly linkGroup?: string;
  readonly xattrs?: ReadonlyMap<string, Uint8Array>;
}

/** A name that ends with a slash is a directory; a string is a file's content. */
export type Files = Readonly<Record<string, string | Spec>>;

export function reader(content: Uint8Array): FileReader {
  let at = 0;
  return {
    read(into) {
      const chunk = content.subarray(at, at + into.length);
      into.set(chunk);
      at += chunk.length;
      return chunk.length;
    },
    [Symbol.dispose]() {},
  };
}

export function contentOf(entry: FileEntry | undefined): string | undefined {
  if (entry?.open === undefined) return undefined;
  const bytes = Buffer.alloc(entry.size);
  const opened = entry.open();
  let filled = 0;
  for (;;) {
    const count = opened.read(bytes.subarray(filled));
    if (count === 0) break;
    filled += count;
  }
  opened[Symbol.dispose]();
  return bytes.subarray(0, filled).toString();
}

function entryOf(spec: Spec, isDirectory: boolean): FileEntry {
  const type =
    spec.type ?? (isDirectory ? "directory" : spec.link === undefined ? "file" : "symlink");
  const content = Buffer.from(spec.content ?? "");
  return {
    type,
    mode: spec.mode ?? (type === "directory" ? 0o755 : type === "symlink" ? 0o777 : 0o644),
    uid: spec.uid ?? 0,
    gid: spec.gid ?? 0,
    mtimeNs: spec.mtimeNs ?? 1n,
    size: type === "file" ? content.length : 0,
    xattrs: spec.xattrs ?? new Map(),
    ...(spec.link === undefined ? {} : { linkTarget: spec.link }),
    ...(spec.linkGroup === undefined ? {} : { linkGroup: spec.linkGroup }),
    ...(type === "file" ? { open: () => reader(content) } : {}),
  };
}

/** A filesystem in memory. */
export class MemoryTree implements Tree {
  readonly entries: Map<string, FileEntry> = new Map([["", entryOf({}, true)]]);

  constructor(files: Files = {}) {
    for (const [name, spec] of Object.entries(files)) {
      const isDirectory = name.endsWith("/");
      const path = isDirectory ? name.slice(0, -1) : name;
      const parts = path.split("/");
      for (let end = 1; end < parts.length; end++) {
        const parent = parts.slice(0, end).join("/");
        if (!this.entries.has(parent)) this.entries.set(parent, entryOf({}, true));
      }
      this.entries.set(
        path,
        entryOf(typeof spec === "string" ? { content: spec } : spec, isDirectory),
      );
    }
  }

  lstat(path: string): FileEntry | undefined {
    return this.entries.get(path);
  }

  list(path: string): readonly string[] {
    const prefix = path === "" ? "" : `${path}/`;
    return [...this.entries.keys()]
      .filter((name) => name !== "" && name.startsWith(prefix))
      .map((name) => name.slice(prefix.length))
      .filter((name) => name !== "" && !name.includes("/"))
      .sort((a, b) => Buffer.compare(Buffer.from(a), Buffer.from(b)));
  }

  read(path: string): Uint8Array | undefined {
    const content = contentOf(this.entries.get(path));
    return content === undefined ? undefined : Buffer.from(content);
  }

  /** As unpacking a layer on top would. */
  apply(changes: Iterable<Change>): this {
    const below = (path: string) =>
      [...this.entries.keys()].filter((name) => name.startsWith(`${path}/`));
    for (const change of changes) {
      if (change.kind !== "write" || change.entry.type !== "directory") {
        for (const name of below(change.path)) this.entries.delete(name);
      }
      if (change.kind === "remove") this.entries.delete(change.path);
      if (change.kind === "write") {
        const parent = change.path.split("/").slice(0, -1).join("/");
        if (this.entries.get(parent)?.type !== "directory")
          throw new Error(`no parent of ${change.path}`);
        this.entries.set(change.path, change.entry);
      }
    }
    return this;
  }

  /** Every path and, of files, the content; of links, the target. */
  show(): Record<string, string> {
    const shown: Record<string, string> = {};
    for (const path of [...this.entries.keys()].sort()) {
      const entry = this.entries.get(path);
      if (path === "" || entry === undefined) continue;
      if (entry.type === "directory") shown[`${path}/`] = "";
      else
        shown[path] =
          entry.type === "symlink" ? `-> ${entry.linkTarget}` : (contentOf(entry) ?? entry.type);
    }
    return shown;
  }
}

export function sourceOf(
  files: Files,
  options: { name?: string; ignored?: string } = {},
): FileSource {
  const { ignored } = options;
  return {
    tree: new MemoryTree(files),
    name: options.name ?? "context",
    ...(ignored === undefined ? {} : { ignoredBy: () => ignored }),
    [Symbol.asyncDispose]: () => Promise.resolve(),
  };
}

export interface Options extends Partial<Omit<CopyRequest, "items" | "target">> {
  readonly parents?: boolean;
}

/** One COPY: words, the last of which is the destination. */
export async function copy(
  from: FileSource | Files,
  words: string,
  options: Options = {},
): Promise<Change[]> {
  const source = isSource(from) ? from : sourceOf(from);
  const [target = "", ...rest] = words.split(" ").reverse();
  const items: CopyItem[] = [];
  for (const word of rest.reverse()) {
    items.push(
      ...(await expandSource(source, word, { parents: options.parents === true, signal })),
    );
  }
  return [
    ...planCopy({
      root: new MemoryTree(),
      workdir: "/",
      createdNs: NOW,
      ...options,
      items,
      target,
    }),
  ];
}

/** What a COPY leaves on top of `root`. */
export async function copied(
  from: FileSource | Files,
  words: string,
  options: Options & { readonly root?: MemoryTree } = {},
): Promise<MemoryTree> {
  const root = options.root ?? new MemoryTree();
  return root.apply(await copy(from, words, { ...options, root }));
}

function isSource(from: FileSource | Files): from is FileSource {
  return "tree" in from && Symbol.asyncDispose in from;
}

/** The paths that a layer carries, with a slash behind directories. */
export function written(changes: Iterable<Change>): string[] {
  return [...changes].map((change) =>
    change.kind === "write" && change.entry.type === "directory"
      ? `${change.path}/`
      : change.kind === "write"
        ? change.path
        : `${change.kind} ${change.path}`,
  );
}

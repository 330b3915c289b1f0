import { posix } from "node:path";
import type { FileSource } from "../../context/types.js";
import { TsbuildError } from "../../errors.js";
import { memoryEntry } from "../copy/entries.js";
import { expandSource } from "../copy/expand.js";
import type { CopyItem } from "../copy/types.js";

/** What COPY and ADD share, with every variable put in. */
export interface ExpandedCopy {
  readonly sources: readonly ExpandedSource[];
  /** As history shows it. */
  readonly target: string;
  /** Where it leads: of a Windows path, without the drive. */
  readonly place: string;
  readonly chown: string | undefined;
  readonly chmod: string | undefined;
  readonly link: boolean;
  readonly exclude: readonly string[];
}
export type ExpandedSource =
  /** `local`: of a Windows path, without the drive. */
  | { readonly kind: "path"; readonly path: string; readonly local: string }
  | { readonly kind: "heredoc"; readonly name: string; readonly content: string };
/** What sources become items with. */
export interface ItemOptions {
  readonly parents: boolean;
  /** The time of heredocs. Nanoseconds since the epoch. */
  readonly createdNs: bigint;
  readonly signal: AbortSignal;
}

/** Paths of one source, and heredocs. */
export async function itemsOf(
  sources: readonly ExpandedSource[],
  from: FileSource,
  options: ItemOptions,
): Promise<readonly CopyItem[]> {
  const items: CopyItem[] = [];
  for (const source of sources) {
    if (source.kind === "path") items.push(...(await expandSource(from, source.local, options)));
    else items.push(heredocItem(source.name, source.content, options.createdNs));
  }
  return items;
}

/** Its name is a path from the root, as with BuildKit: nothing in it leads out of the destination. */
function heredocItem(written: string, content: string, mtimeNs: bigint): CopyItem {
  const name = posix.normalize(`/${written}`).slice(1).replace(/\/$/, "");
  if (name === "" || name.includes("/")) {
    throw new TsbuildError(
      "DOCKERFILE_INVALID",
      `tried to copy the heredoc <<${written}: ${name === "" ? "it names no file" : "its directory does not exist"}`,
      { hint: "name the directory in the destination, and the file alone behind <<" },
    );
  }
  return { kind: "file", name, entry: memoryEntry(new TextEncoder().encode(content), { mtimeNs }) };
}

export function isUrl(path: string): boolean {
  return path.startsWith("http://") || path.startsWith("https://");
}

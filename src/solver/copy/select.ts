import type { FileSource } from "../../context/types.js";
import type { FileEntry } from "../../oci/tree.js";
import type { Contributor } from "./contributor.js";
import { join } from "./paths.js";
import { compileExclude, selectItem } from "./plan-copy.js";
import { copyTree } from "./source-tree.js";
import type { CopyItem } from "./types.js";

/** One file, link or directory that a COPY reads. */
export interface SelectedFile {
  /** Index of the item. */
  readonly item: number;
  /** Below the item's destination; of a single file its name. */
  readonly path: string;
  /** As the source has it. */
  readonly entry: FileEntry;
  /** Where it is read: for `FileSource.identity`. Absent for heredocs and downloads. */
  readonly from?: { readonly source: FileSource; readonly path: string };
}

/**
 * Everything that the items read, in a fixed order, whatever the destination holds: the content that decides a cache key.
 * Ask before `unpackArchives`: an archive counts as the file that it is.
 * @throws TsbuildError CONTEXT_UNREADABLE when an item is missing
 */
export function* selectFiles(
  items: readonly CopyItem[],
  exclude: readonly string[],
): Generator<SelectedFile> {
  const patterns = compileExclude(exclude);
  for (const [index, item] of items.entries()) {
    if (item.kind === "archive") continue;
    const selected = selectItem(item, patterns);
    if (selected.kind === "file") {
      const from =
        item.kind === "file" || selected.path === undefined
          ? {}
          : { from: { source: item.source, path: selected.path } };
      yield { item: index, path: selected.name, entry: selected.entry, ...from };
      continue;
    }
    if (item.kind === "file") continue;
    const { selection } = selected;
    const plain = { owner: undefined, chmod: undefined, item: index };
    const top = copyTree(selection, selected.entry, index, plain);
    for (const { path, entry } of walk(top, "")) {
      const from = { source: item.source, path: join(selection.base, path) };
      yield { item: index, path, entry, from };
    }
  }
}

function* walk(
  contributor: Contributor,
  path: string,
): Generator<{ readonly path: string; readonly entry: FileEntry }> {
  for (const name of contributor.names()) {
    const child = contributor.child(name);
    if (child === undefined) continue;
    const at = join(path, name);
    yield { path: at, entry: child.entry };
    if (child.entry.type === "directory") yield* walk(child, at);
  }
}

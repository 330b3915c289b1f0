import { resolvePath } from "../../oci/resolve-path.js";
import { openArchive, type Archive } from "./archive.js";
import { entryAt } from "./entries.js";
import type { CopyItem } from "./types.js";

/** Items of an ADD, archives opened. */
export interface UnpackedItems extends AsyncDisposable {
  readonly items: readonly CopyItem[];
}

/**
 * Opens those items that are archives by their content: files that a word names or its wildcards match, never those inside
 * a directory; downloads too with `downloads` (`ADD --unpack`). What is missing stays for `planCopy` to report.
 */
export async function unpackArchives(
  items: readonly CopyItem[],
  options: {
    readonly downloads: boolean;
    /** A new name in the staging directory. */
    readonly spoolPath: () => string;
    readonly signal: AbortSignal;
  },
): Promise<UnpackedItems> {
  const opened: Archive[] = [];
  const dispose = async (): Promise<void> => {
    for (const archive of opened.splice(0).reverse()) await archive[Symbol.asyncDispose]();
  };
  const result: CopyItem[] = [];
  try {
    for (const item of items) {
      const file = fileOf(item, options.downloads);
      const archive =
        file === undefined
          ? undefined
          : await openArchive(file.entry, {
              what: file.what,
              spoolPath: options.spoolPath(),
              signal: options.signal,
            });
      if (archive !== undefined) opened.push(archive);
      result.push(archive === undefined ? item : { kind: "archive", archive });
    }
  } catch (error) {
    await dispose();
    throw error;
  }
  return { items: result, [Symbol.asyncDispose]: dispose };
}

function fileOf(item: CopyItem, downloads: boolean) {
  if (item.kind === "file" && downloads) return { entry: item.entry, what: item.name };
  if (item.kind !== "path") return undefined;
  try {
    const { path } = resolvePath(item.source.tree, item.path, "follow");
    const entry = entryAt(item.source.tree, path);
    return entry?.type === "file"
      ? { entry, what: `/${item.path} of the ${item.source.name}` }
      : undefined;
  } catch {
    return undefined;
  }
}

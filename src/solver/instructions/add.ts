import { openSync, closeSync, readSync } from "node:fs";
import type { UrlFile } from "../../context/types.js";
import type { Add } from "../../dockerfile/types.js";
import { TsbuildError } from "../../errors.js";
import type { SealedLayer } from "../../layer/types.js";
import type { FileEntry } from "../../oci/tree.js";
import { planCopy, unpackArchives, type CopyItem } from "../copy/index.js";
import type { Effect, StageState, Tools } from "../types.js";
import { expand } from "../words.js";
import {
  copyHistory,
  copyRequest,
  expandCopy,
  isGit,
  isUrl,
  itemsOf,
  warnIgnored,
  type ExpandedSource,
} from "./copy.js";

/** What a download is given unless --chmod says otherwise. */
const DOWNLOAD_MODE = 0o600;

export async function add(instruction: Add, state: StageState, tools: Tools): Promise<Effect> {
  const expanded = expandCopy(instruction, state, tools);
  await warnIgnored(expanded.sources, tools);
  const checksum =
    instruction.checksum === undefined
      ? undefined
      : expand(instruction.checksum.value, state, tools);
  if (checksum !== undefined) requireRemote(expanded.sources);
  for (const source of expanded.sources) {
    if (source.kind === "path" && isGit(source.path)) refuseGit(source.path);
  }
  const unpack = instruction.unpack?.value;
  const layer = async (): Promise<SealedLayer> => {
    const request = await copyRequest(expanded, state, tools);
    const { signal } = tools;
    const items: CopyItem[] = [];
    for (const source of expanded.sources) items.push(...(await addItems(source, checksum, tools)));
    if (unpack === false) return tools.pack(planCopy({ ...request, items }), state.image);
    await using unpacked = await unpackArchives(items, {
      downloads: unpack ?? false,
      spoolPath: () => tools.temporaryFile(".spool"),
      signal,
    });
    return await tools.pack(planCopy({ ...request, items: unpacked.items }), state.image);
  };
  return { state, history: copyHistory("ADD", expanded, false), layer };
}

async function addItems(
  source: ExpandedSource,
  checksum: string | undefined,
  tools: Tools,
): Promise<readonly CopyItem[]> {
  if (source.kind === "path" && isUrl(source.path)) {
    const path = tools.temporaryFile(".download");
    const file = await tools.remote.file(source.path, {
      path,
      ...(checksum === undefined ? {} : { checksum }),
    });
    return [{ kind: "file", name: file.name, entry: downloadEntry(file) }];
  }
  return itemsOf([source], await tools.context(), { parents: false, signal: tools.signal });
}

function downloadEntry(file: UrlFile): FileEntry {
  return {
    type: "file",
    mode: DOWNLOAD_MODE,
    uid: 0,
    gid: 0,
    mtimeNs: file.mtimeNs,
    size: file.size,
    xattrs: new Map(),
    open: () => {
      const descriptor = openSync(file.path, "r");
      return {
        read: (into) => readSync(descriptor, into),
        [Symbol.dispose]: () => closeSync(descriptor),
      };
    },
  };
}

function requireRemote(sources: readonly ExpandedSource[]): void {
  const [first] = sources;
  const wrong =
    sources.length !== 1 || first === undefined
      ? "checksum can't be specified for multiple sources"
      : first.kind === "path" && (isUrl(first.path) || isGit(first.path))
        ? undefined
        : "checksum requires HTTP(S) or Git sources";
  if (wrong !== undefined) throw new TsbuildError("DOCKERFILE_INVALID", wrong);
}

function refuseGit(path: string): void {
  throw new TsbuildError(
    "DOCKERFILE_INVALID",
    `ADD of a git repository is not supported yet: ${path}`,
    {
      hint: "clone it before the build and COPY it",
    },
  );
}

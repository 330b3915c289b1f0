import { openSync, closeSync, readSync } from "node:fs";
import type { FileSource, UrlFile } from "../../context/types.js";
import type { Add } from "../../dockerfile/types.js";
import { TsbuildError } from "../../errors.js";
import type { SealedLayer } from "../../layer/types.js";
import type { FileEntry } from "../../oci/tree.js";
import type { Image } from "../../oci/types.js";
import {
  linksElsewhere,
  planCopy,
  unpackArchives,
  type CopyItem,
  type CopyRequest,
} from "../copy/index.js";
import { createdNs } from "../state.js";
import type { Effect, StageState, Tools } from "../types.js";
import { expand } from "../words.js";
import { addInputs } from "./copy-inputs.js";
import { copyHistory, copyRequest, expandCopy, isRemote, warnIgnored } from "./copy.js";
import { isUrl, itemsOf, type ExpandedSource } from "./copy-items.js";

/** What a download is given unless --chmod says otherwise. */
const DOWNLOAD_MODE = 0o600;

export async function add(instruction: Add, state: StageState, tools: Tools): Promise<Effect> {
  const expanded = expandCopy(instruction, state, tools);
  await warnIgnored(expanded.sources, tools);
  const { checksum: flag } = instruction;
  const checksum = (flag && expand(flag.value, state, tools)) || undefined;
  if (checksum !== undefined) checkChecksum(checksum, expanded.sources, tools);
  const unpack = instruction.unpack?.value;
  const layer = async (): Promise<SealedLayer> => {
    const request = await copyRequest(expanded, state, tools);
    const { signal } = tools;
    await using opened = await openItems(expanded.sources, instruction, checksum, tools);
    const { items } = opened;
    if (unpack === false) return await tools.pack(planCopy({ ...request, items }), state.image);
    await using unpacked = await unpackArchives(items, {
      downloads: unpack ?? false,
      spoolPath: () => tools.temporaryFile(".spool"),
      signal,
    });
    return await packUnpacked({ ...request, items: unpacked.items }, state.image, tools);
  };
  return {
    state,
    history: copyHistory("ADD", expanded, false),
    inputs: () => addInputs(expanded, instruction, checksum, state, tools),
    layer,
  };
}

/** A hard link may lead to a file of an earlier layer: the new one then has that file's content, too. */
async function packUnpacked(
  request: CopyRequest,
  image: Image,
  tools: Tools,
): Promise<SealedLayer> {
  const links = request.items.some(
    (item) => item.kind === "archive" && linksElsewhere(item.archive),
  );
  if (!links || request.link === true) return tools.pack(planCopy(request), image);
  const stage = { name: "stage", image: () => Promise.resolve(image) };
  await using below = await tools.contents(stage);
  const reading = { ...request, root: below.tree };
  await below.prepare(planCopy(reading));
  return await tools.pack(planCopy(reading), image);
}

/** What the sources are, opened. */
interface AddItems extends AsyncDisposable {
  readonly items: readonly CopyItem[];
}

async function openItems(
  sources: readonly ExpandedSource[],
  instruction: Add,
  checksum: string | undefined,
  tools: Tools,
): Promise<AddItems> {
  const items: CopyItem[] = [];
  const opened: FileSource[] = [];
  const dispose = async (): Promise<void> => {
    for (const source of opened.splice(0)) await source[Symbol.asyncDispose]();
  };
  const options = checksum === undefined ? {} : { checksum };
  try {
    for (const source of sources) {
      const git = source.kind === "path" ? tools.remote.parseGit(source.path) : undefined;
      if (git !== undefined) {
        const keep = instruction.keepGitDir?.value;
        const keeping = keep === undefined ? {} : { keepGitDir: keep };
        const found = await tools.remote.resolveGit(git, { ...options, ...keeping });
        const repository = await found.open(tools.temporaryFile(".git"));
        opened.push(repository);
        items.push({ kind: "path", source: repository, path: "" });
      } else if (source.kind === "path" && isUrl(source.path)) {
        const file = await (await tools.remote.resolveFile(source.path, options)).open();
        items.push({ kind: "file", name: file.name, entry: downloadEntry(file) });
      } else {
        const { signal, options: solving } = tools;
        const local = { parents: false, createdNs: createdNs(solving), signal };
        items.push(...(await itemsOf([source], await tools.context(), local)));
      }
    }
    return { items, [Symbol.asyncDispose]: dispose };
  } catch (error) {
    await dispose();
    throw error;
  }
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

/** Here already, so that a wrong one is found before anything runs. */
function checkChecksum(checksum: string, sources: readonly ExpandedSource[], tools: Tools): void {
  const paths = sources.flatMap((source) => (source.kind === "path" ? [source.path] : []));
  const [path] = paths;
  const refuse = (why: string): TsbuildError => new TsbuildError("DOCKERFILE_INVALID", why);
  if (path === undefined || paths.length > 1) {
    throw refuse("checksum can't be specified for multiple sources");
  }
  if (!isRemote(path, tools)) throw refuse("checksum requires HTTP(S) or Git sources");
  if (tools.remote.parseGit(path) === undefined) tools.remote.checkUrlChecksum(checksum);
}

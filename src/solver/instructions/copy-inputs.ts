import type { FileSource } from "../../context/types.js";
import type { Add } from "../../dockerfile/types.js";
import { redactUrl } from "../../internal/redact.js";
import type { Change } from "../../layer/types.js";
import { digestItems, type DigestOptions } from "../cache/digest-files.js";
import type {
  ContentDigest,
  ContentInput,
  Ingredient,
  InputSources,
  StepInputs,
} from "../cache/types.js";
import { selectFiles, type SelectedFile } from "../copy/index.js";
import type { ImageContents, StageState, Tools } from "../types.js";
import { isUrl, itemsOf, type ExpandedCopy, type ExpandedSource } from "./copy-items.js";

type Paths = readonly Extract<ExpandedSource, { readonly kind: "path" }>[];

/** What decides a COPY: where to, with which flags, and what is copied. The names of its sources decide nothing more. */
export async function copyInputs(
  expanded: ExpandedCopy,
  { from, parents }: { readonly from: string | undefined; readonly parents: boolean },
  state: StageState,
  tools: Tools,
  sources: InputSources,
): Promise<StepInputs> {
  const facts = [
    ...copyFacts("COPY", expanded, state, tools),
    ...(parents ? [{ name: "--parents", value: "true" }] : []),
  ];
  const paths = pathsOf(expanded);
  if (paths.length === 0) return { facts, contents: [] };
  const selection = { paths, exclude: expanded.exclude, parents };
  if (from === undefined) {
    const files = contextFiles(selection, await tools.context());
    return { facts, contents: [{ ...files, isHashed: true }] };
  }
  return { facts, contents: [await sourceFiles(selection, from, sources)] };
}

/** Likewise; what is fetched from elsewhere counts by what the server says that it is now. */
export async function addInputs(
  expanded: ExpandedCopy,
  instruction: Add,
  checksum: string | undefined,
  state: StageState,
  tools: Tools,
): Promise<StepInputs> {
  const { unpack, keepGitDir } = instruction;
  const facts = [
    ...copyFacts("ADD", expanded, state, tools),
    ...flag("--unpack", unpack?.value),
    ...flag("--keep-git-dir", keepGitDir?.value),
  ];
  const contents: ContentInput[] = [];
  for (const [index, source] of pathsOf(expanded).entries()) {
    const { path } = source;
    const git = tools.remote.parseGit(path);
    const options = checksum === undefined ? {} : { checksum };
    const name = isUrl(path) || git !== undefined ? redactUrl(path) : path;
    const id = JSON.stringify(["remote", index, path, checksum, keepGitDir?.value]);
    if (git !== undefined) {
      const keep = keepGitDir === undefined ? {} : { keepGitDir: keepGitDir.value };
      const found = await tools.remote.resolveGit(git, { ...options, ...keep });
      contents.push(known(name, id, found.identity));
    } else if (isUrl(path)) {
      const found = await tools.remote.resolveFile(path, options);
      contents.push(known(name, id, `${found.name} ${found.digest}`));
    } else {
      const selection = { paths: [source], exclude: expanded.exclude, parents: false };
      contents.push(contextFiles(selection, await tools.context()));
    }
  }
  return { facts, contents };
}

function copyFacts(
  kind: "COPY" | "ADD",
  { place, chown, chmod, link, exclude, sources }: ExpandedCopy,
  state: StageState,
  { options }: Tools,
): readonly Ingredient[] {
  const heredocs = sources.flatMap((source) =>
    source.kind === "heredoc" ? [{ name: `<<${source.name}`, value: source.content }] : [],
  );
  return [
    { name: "instruction", value: kind },
    { name: "destination", value: place },
    { name: "working directory", value: state.image.config.workingDir },
    ...(chown === undefined ? [] : [{ name: "--chown", value: chown }]),
    ...(chmod === undefined ? [] : [{ name: "--chmod", value: chmod }]),
    ...flag("--link", link),
    ...exclude.map((value) => ({ name: "--exclude", value })),
    ...heredocs,
    ...timeFacts(options),
  ];
}

/** The times of what a step makes itself, where they are not the clock's. */
export function timeFacts({
  sourceDateEpoch,
  rewriteTimestamp,
}: Tools["options"]): readonly Ingredient[] {
  if (sourceDateEpoch === undefined) return [];
  return [
    { name: "SOURCE_DATE_EPOCH", value: String(sourceDateEpoch) },
    ...flag("rewrite-timestamp", rewriteTimestamp),
  ];
}

function flag(name: string, value: boolean | undefined): readonly Ingredient[] {
  return value === undefined || !value ? [] : [{ name, value: "true" }];
}

function known(name: string, id: string, digest: string): ContentInput {
  return { name, id, digest: () => Promise.resolve({ digest }) };
}

/** What of a source is read. */
export interface Selection {
  readonly paths: Paths;
  readonly exclude: readonly string[];
  readonly parents: boolean;
}

function pathsOf({ sources }: ExpandedCopy): Paths {
  return sources.filter((source) => source.kind === "path");
}

/** Files of a context, which are at hand. */
export function contextFiles(selection: Selection, source: FileSource): ContentInput {
  return {
    name: shownPaths(selection),
    id: JSON.stringify([source.name, selection]),
    digest: (options) => digestSelection(selection, source, options),
  };
}

/** Files of what `--from` names. */
export async function sourceFiles(
  selection: Selection,
  from: string,
  sources: InputSources,
): Promise<ContentInput> {
  const definition = await sources.definition(from);
  const contents = sources.contents(from);
  const selected = JSON.stringify(selection);
  return {
    name: `${shownPaths(selection)} of ${from}`,
    id: JSON.stringify([from, definition, selection]),
    ...(definition === undefined ? {} : { definition: `${definition} ${selected}` }),
    ...(contents === undefined
      ? {}
      : {
          digest: async (options) => {
            await using source = await contents();
            return await digestSelection(selection, source, options);
          },
        }),
  };
}

async function digestSelection(
  { paths, exclude, parents }: Selection,
  source: FileSource | ImageContents,
  options: DigestOptions,
): Promise<ContentDigest> {
  const items = await itemsOf(paths, source, { parents, createdNs: 0n, signal: options.signal });
  if ("prepare" in source) await source.prepare(asChanges(selectFiles(items, exclude)));
  return digestItems(items, exclude, options);
}

function* asChanges(files: Iterable<SelectedFile>): Generator<Change> {
  for (const { path, entry } of files) yield { kind: "write", path, entry };
}

function shownPaths({ paths }: Selection): string {
  return paths.map(({ path }) => path).join(" ");
}

import { posix } from "node:path";
import { expandHeredoc, lintIgnored } from "../../dockerfile/index.js";
import type { Add, Copy, CopySource } from "../../dockerfile/types.js";
import type { FileSource } from "../../context/types.js";
import { TsbuildError } from "../../errors.js";
import { redactUrl } from "../../internal/redact.js";
import type { SealedLayer } from "../../layer/types.js";
import type { Tree } from "../../oci/tree.js";
import { parseChmod } from "../copy/chmod.js";
import { planCopy } from "../copy/plan-copy.js";
import type { CopyRequest, Owner } from "../copy/types.js";
import { createdNs } from "../state.js";
import type { Effect, StageState, Tools } from "../types.js";
import { resolveOwner } from "../user.js";
import { expand, scopeOf, warnUnset } from "../words.js";
import { withoutDrive } from "../workdir-path.js";
import { copyInputs } from "./copy-inputs.js";
import { isUrl, itemsOf, type ExpandedCopy, type ExpandedSource } from "./copy-items.js";

export async function copy(instruction: Copy, state: StageState, tools: Tools): Promise<Effect> {
  const expanded = expandCopy(instruction, state, tools);
  for (const source of expanded.sources)
    if (source.kind === "path") refuseRemote(source.path, tools);
  if (instruction.from === undefined) await warnIgnored(expanded.sources, tools);
  const parents = instruction.parents?.value ?? false;
  const { from } = instruction;
  const layer = async (): Promise<SealedLayer> => {
    const base = await copyRequest(expanded, state, tools);
    const make = async (source: FileSource): Promise<CopyRequest> => ({
      ...base,
      items: await itemsOf(expanded.sources, source, {
        parents,
        createdNs: base.createdNs,
        signal: tools.signal,
      }),
    });
    if (from === undefined) {
      return tools.pack(planCopy(await make(await tools.context())), state.image);
    }
    await using source = await tools.contents(tools.source(from.value));
    const request = await make(source);
    await source.prepare(planCopy(request));
    return await tools.pack(planCopy(request), state.image);
  };
  const flags = { from: from?.value, parents };
  return {
    state,
    history: copyHistory("COPY", expanded, parents),
    inputs: (sources) => copyInputs(expanded, flags, state, tools, sources),
    layer,
  };
}

export function expandCopy(instruction: Copy | Add, state: StageState, tools: Tools): ExpandedCopy {
  const { target, chown, chmod, link, exclude } = instruction;
  const text = (flag: typeof chown): string | undefined => {
    const value = flag === undefined ? "" : expand(flag.value, state, tools);
    return value === "" ? undefined : value;
  };
  const sources = instruction.sources.map((source) => expandSourceWord(source, state, tools));
  const shownTarget = expand(target, state, tools);
  const mode = text(chmod);
  // Here already, so that a wrong one is found before anything runs.
  if (mode !== undefined) parseChmod(mode);
  return {
    // Heredocs come last, wherever they are written: of two with one name, they stay.
    sources: [
      ...sources.filter(({ kind }) => kind === "path"),
      ...sources.filter(({ kind }) => kind === "heredoc"),
    ],
    target: shownTarget,
    place: withoutDrive(shownTarget, state.platform.os),
    chown: text(chown),
    chmod: mode,
    // BuildKit's rule: with --chmod a linked copy is an ordinary one.
    link: (link?.value ?? false) && chmod === undefined,
    exclude: exclude.map(({ value }) => value.text),
  };
}

function expandSourceWord(source: CopySource, state: StageState, tools: Tools): ExpandedSource {
  if (source.kind === "path") {
    const path = expand(source.word, state, tools);
    const local = isRemote(path, tools) ? path : withoutDrive(path, state.platform.os);
    return { kind: "path", path, local };
  }
  const { value, unset } = expandHeredoc(source.heredoc, scopeOf(state, tools));
  warnUnset(unset, state, tools);
  return { kind: "heredoc", name: source.heredoc.name, content: value };
}

/** CopyIgnoredFile, for sources that the ignore file takes away as they are written. */
export async function warnIgnored(sources: readonly ExpandedSource[], tools: Tools): Promise<void> {
  const context = await tools.context();
  for (const source of sources) {
    if (source.kind !== "path" || isRemote(source.path, tools)) continue;
    const path = posix.normalize(`/${source.path}`).slice(1).replace(/\/$/, "");
    if (context.alwaysIgnores?.(path) !== true) continue;
    tools.warn(lintIgnored(source.path, tools.at, tools.plan.check));
  }
}

/** What a copy needs besides its sources. */
export async function copyRequest(
  copy: ExpandedCopy,
  state: StageState,
  tools: Tools,
): Promise<Omit<CopyRequest, "items">> {
  const root = await tools.tree(state.image);
  return {
    root,
    target: copy.place,
    workdir: state.image.config.workingDir,
    createdNs: createdNs(tools.options),
    owner: copy.chown === undefined ? undefined : ownerOf(root, copy.chown, tools),
    chmod: copy.chmod === undefined ? undefined : parseChmod(copy.chmod),
    exclude: copy.exclude,
    link: copy.link,
  };
}

/** BuildKit takes a name that the image does not know for root, without a word. */
function ownerOf(root: Tree, chown: string, tools: Tools): Owner {
  const { uid, gid, unknown } = resolveOwner(root, chown);
  if (unknown.length > 0) {
    const names = unknown.map((name) => JSON.stringify(name)).join(" and ");
    const are = unknown.length > 1 ? "are" : "is";
    tools.notice(
      `--chown=${chown}: ${names} ${are} not in the image's /etc/passwd or /etc/group; the owner is ${uid}:${gid}`,
    );
  }
  return { uid, gid };
}

export function copyHistory(name: "COPY" | "ADD", copy: ExpandedCopy, parents: boolean): string {
  const words = [
    name,
    ...(parents ? ["--parents"] : []),
    ...(copy.chown === undefined ? [] : [`--chown=${copy.chown}`]),
    ...(copy.chmod === undefined ? [] : [`--chmod=${copy.chmod}`]),
    ...copy.sources.map((source) =>
      source.kind === "path" ? shownSource(source.path) : `<<${source.name}`,
    ),
    copy.target,
    "# buildkit",
  ];
  return words.join(" ");
}

/** History is public: a password in a URL is not. */
function shownSource(path: string): string {
  return /^[a-z]+:\/\/[^/]*@/.test(path) ? redactUrl(path) : path;
}

/** Whether a source is fetched from elsewhere. */
export function isRemote(path: string, tools: Tools): boolean {
  return isUrl(path) || tools.remote.parseGit(path) !== undefined;
}

function refuseRemote(path: string, tools: Tools): void {
  const git = tools.remote.parseGit(path);
  const what = git !== undefined ? "a git ref" : isUrl(path) ? "a URL" : undefined;
  if (what === undefined) return;
  throw new TsbuildError("DOCKERFILE_INVALID", `source can't be ${what} for COPY: ${path}`, {
    hint: "use ADD",
  });
}

/**
 * Rules of the Dockerfile language, built for real: text and a tree of files in, the flattened image out. What a step
 * can see is checked by its own RUN lines, whose failure fails the build; the rest is checked on the image.
 */
import { chmod, chown, lutimes, mkdir, symlink, writeFile } from "node:fs/promises";
import { dirname, join } from "node:path";
import { posix } from "node:path";
import { afterAll, beforeAll } from "vitest";
import { start, type BuildEvent, type BuildOptions, type Diagnostic } from "../../src/index.js";
import { TsbuildError } from "../../src/errors.js";
import { busyboxBase, pushBase } from "../support/bases.js";
import { startRegistry, type RegistryService } from "../support/services.js";
import { lacksBuild } from "../support/tools-cli.js";
import { byPath, readLayout, type JudgedImage } from "../support/tools-images.js";
import type { TarEntry } from "../support/tools-tar.js";
import { lacksTools, tempDir, type TempDir } from "../support/tools.js";

/** Why these tests cannot run here. */
export const LACKS: readonly (string | undefined)[] = [
  lacksTools("docker-registry", "skopeo", "busybox"),
  lacksBuild(),
];

/** A file of a context: its text, or what `file`, `directory` and `link` make. */
export type Node = string | Uint8Array | FileNode | DirectoryNode | LinkNode;
interface Facts {
  readonly mode?: number;
  /** Needs root. */
  readonly owner?: readonly [uid: number, gid: number];
  /** Seconds. */
  readonly mtime?: number;
}
interface FileNode extends Facts {
  readonly kind: "file";
  readonly content: string | Uint8Array;
}
interface DirectoryNode extends Facts {
  readonly kind: "directory";
}
interface LinkNode {
  readonly kind: "link";
  readonly target: string;
}
/** By path; parents are made as they are needed. */
export type Files = Readonly<Record<string, Node>>;

export const file = (content: string | Uint8Array, facts: Facts = {}): FileNode => ({
  kind: "file",
  content,
  ...facts,
});
export const directory = (facts: Facts = {}): DirectoryNode => ({ kind: "directory", ...facts });
export const link = (target: string): LinkNode => ({ kind: "link", target });

/** What a build is given besides its Dockerfile. */
export interface Case extends Partial<
  Omit<BuildOptions, "context" | "buildContexts" | "store" | "ociLayoutPath">
> {
  readonly files?: Files;
  /** Files of named contexts. */
  readonly named?: Readonly<Record<string, Files>>;
  readonly buildContexts?: Readonly<Record<string, string>>;
  /** Beside the Dockerfile, which then lies outside of the context. */
  readonly ownIgnoreFile?: string;
  /** A store of its own, for builds that must not know of each other. */
  readonly ownStore?: boolean;
}

/** One path of the image, all layers put one upon the other. */
export interface FlatFile {
  readonly type: TarEntry["type"];
  /** Octal. */
  readonly mode: string;
  readonly owner: string;
  readonly text: string;
  readonly target: string;
  readonly mtime: number;
  readonly xattrs: ReadonlyMap<string, Buffer>;
}

export interface Config {
  readonly architecture: string;
  readonly os: string;
  readonly variant?: string;
  readonly author?: string;
  readonly created?: string;
  readonly config: {
    readonly Env?: readonly string[];
    readonly Cmd?: readonly string[] | null;
    readonly Entrypoint?: readonly string[] | null;
    readonly User?: string;
    readonly WorkingDir?: string;
    readonly Labels?: Readonly<Record<string, string>>;
    readonly ExposedPorts?: Readonly<Record<string, unknown>>;
    readonly Volumes?: Readonly<Record<string, unknown>>;
    readonly Healthcheck?: Readonly<Record<string, unknown>>;
    readonly OnBuild?: readonly string[];
    readonly Shell?: readonly string[];
    readonly StopSignal?: string;
    readonly ArgsEscaped?: boolean;
  };
  readonly history: readonly {
    readonly created?: string;
    readonly created_by?: string;
    readonly comment?: string;
    readonly empty_layer?: boolean;
  }[];
}

export interface Built {
  /** The directory of the OCI layout. */
  readonly layout: string;
  readonly digest: string;
  readonly config: Config;
  /** `created_by` of what this build added to its base's history. */
  readonly history: readonly string[];
  readonly files: ReadonlyMap<string, FlatFile>;
  /** `type mode owner` of a path; `undefined` when nothing is there. */
  facts(path: string): string | undefined;
  text(path: string): string | undefined;
  /** Entries of each layer, as the archive has them, by path. */
  readonly layers: readonly ReadonlyMap<string, TarEntry>[];
  readonly events: readonly BuildEvent[];
  /** `Rule: message`. */
  readonly warnings: readonly string[];
  readonly diagnostics: readonly Diagnostic[];
  /** What the steps wrote. */
  readonly output: string;
}

export interface Failed {
  readonly error: TsbuildError;
  readonly message: string;
  readonly exitCode: number;
  readonly events: readonly BuildEvent[];
  readonly warnings: readonly string[];
  readonly output: string;
}

/** The entries of the base's history, which are not this build's. */
const BASE_HISTORY = "layer 0";

export class Bench {
  #dir: TempDir | undefined;
  #registry: RegistryService | undefined;
  #builds = 0;

  async open(): Promise<void> {
    this.#dir = await tempDir("tsbuild-semantics-");
    this.#registry = await startRegistry();
    await pushBase(await busyboxBase(), this.#registry, "library/busybox:latest");
  }

  async close(): Promise<void> {
    await this.#registry?.[Symbol.asyncDispose]();
    await this.#dir?.[Symbol.asyncDispose]();
  }

  get registry(): RegistryService {
    if (this.#registry === undefined) throw new Error("the bench is not open");
    return this.#registry;
  }

  get path(): string {
    if (this.#dir === undefined) throw new Error("the bench is not open");
    return this.#dir.path;
  }

  /** Builds, and reads what came out of it. Lines are joined; a failure is thrown with the end of the output. */
  async build(lines: readonly string[], options: Case = {}): Promise<Built> {
    const { image, layout, failure, ...told } = await this.#run(lines, options);
    if (image === undefined) {
      throw new Error(`${failure?.message ?? "no image"}\n${told.output.slice(-2_000)}`);
    }
    const config = image.config as unknown as Config;
    const files = flatten(image);
    const created = config.history.map((entry) => entry.created_by ?? "");
    return {
      layout,
      digest: image.digest,
      config,
      history: created.filter((text) => text !== BASE_HISTORY),
      files,
      facts: (path) => factsOf(files.get(path)),
      text: (path) => files.get(path)?.text,
      layers: image.layers.map(withoutRoot),
      ...told,
    };
  }

  /** Builds what cannot be built. */
  async fails(lines: readonly string[], options: Case = {}): Promise<Failed> {
    const { image, layout: _, failure, ...told } = await this.#run(lines, options);
    if (image !== undefined) throw new Error(`the build succeeded\n${told.output.slice(-2_000)}`);
    if (!(failure instanceof TsbuildError)) throw new Error("not our error", { cause: failure });
    return { error: failure, message: failure.message, exitCode: failure.exitCode, ...told };
  }

  async #run(lines: readonly string[], options: Case): Promise<Told> {
    const number = this.#builds++;
    const { files = {}, named = {}, buildContexts, ownIgnoreFile, ownStore, ...rest } = options;
    const at = (name: string): string => join(this.path, `${name}-${number}`);
    const context = at("context");
    await writeFiles(context, files);
    const dockerfile = join(context, "Dockerfile");
    const outside = at("Dockerfile");
    const place = ownIgnoreFile === undefined ? dockerfile : outside;
    await writeFile(place, `${lines.join("\n")}\n`);
    if (ownIgnoreFile !== undefined) await writeFile(`${outside}.dockerignore`, ownIgnoreFile);
    const contexts: Record<string, string> = { ...buildContexts };
    for (const [name, content] of Object.entries(named)) {
      contexts[name] = at(`named-${name}`);
      await writeFiles(at(`named-${name}`), content);
    }
    const layout = at("image");
    const { host } = this.registry;
    const running = start({
      ...rest,
      context,
      ...(ownIgnoreFile === undefined ? {} : { dockerfile: outside }),
      buildContexts: contexts,
      push: false,
      ociLayoutPath: layout,
      store: ownStore === true ? at("store") : join(this.path, "store"),
      registryMap: [`index.docker.io=${host}`],
      insecureRegistries: [host],
    });
    const events: BuildEvent[] = [];
    for await (const event of running.events) events.push(event);
    const failure: unknown = await running.result.then(
      () => undefined,
      (error: unknown) => error,
    );
    const image = failure === undefined ? await readLayout(layout) : undefined;
    return { image, layout, failure: asError(failure), events, ...toldBy(events) };
  }
}

interface Told extends Pick<Built, "events" | "warnings" | "diagnostics" | "output"> {
  readonly image: JudgedImage | undefined;
  readonly layout: string;
  readonly failure: Error | undefined;
}

function asError(failure: unknown): Error | undefined {
  if (failure === undefined || failure instanceof Error) return failure;
  return new Error("something that is no error was thrown", { cause: failure });
}

/** A bench for the tests of a file: opened before the first, closed after the last. */
export function useBench(): Bench {
  const bench = new Bench();
  beforeAll(() => bench.open());
  afterAll(() => bench.close());
  return bench;
}

function toldBy(events: readonly BuildEvent[]): Pick<Built, "warnings" | "diagnostics" | "output"> {
  const diagnostics = events.flatMap((event) =>
    event.type === "warning" ? [event.diagnostic] : [],
  );
  return {
    diagnostics,
    warnings: diagnostics.map(({ code, message }) => `${code}: ${message}`),
    output: Buffer.concat(
      events.flatMap((event) => (event.type === "step-output" ? [event.chunk] : [])),
    ).toString("utf8"),
  };
}

/** The root's own entry, which a step has when it puts something there, tells nothing. */
function withoutRoot(entries: readonly TarEntry[]): ReadonlyMap<string, TarEntry> {
  return new Map([...byPath(entries)].filter(([path]) => path !== ""));
}

async function writeFiles(root: string, files: Files): Promise<void> {
  await mkdir(root, { recursive: true });
  const nodes = Object.entries(files).map(([path, node]) => ({
    path: join(root, path),
    node:
      typeof node === "string" || node instanceof Uint8Array ? file(node, { mode: 0o644 }) : node,
  }));
  for (const { path, node } of nodes) {
    await mkdir(dirname(path), { recursive: true });
    if (node.kind === "directory") await mkdir(path, { recursive: true });
    else if (node.kind === "link") await symlink(node.target, path);
    else await writeFile(path, node.content);
  }
  // Afterwards, and the deepest first: a directory's time changes with what is put into it.
  for (const { path, node } of nodes.toReversed()) {
    if (node.kind === "link") continue;
    if (node.owner !== undefined) await chown(path, ...node.owner);
    if (node.mode !== undefined) await chmod(path, node.mode);
    if (node.mtime !== undefined) await lutimes(path, node.mtime, node.mtime);
  }
}

const WHITEOUT = ".wh.";
const OPAQUE = ".wh..wh..opq";

/** The layers one upon the other, as a runtime shows them. */
function flatten(image: JudgedImage): ReadonlyMap<string, FlatFile> {
  const files = new Map<string, TarEntry>();
  for (const entries of image.layers) {
    const layer = byPath(entries);
    for (const path of layer.keys()) {
      const name = posix.basename(path);
      const parent = posix.dirname(path);
      if (name === OPAQUE) removeBelow(files, parent);
      else if (name.startsWith(WHITEOUT)) {
        const gone = posix.join(parent, name.slice(WHITEOUT.length));
        files.delete(gone);
        removeBelow(files, gone);
      }
    }
    for (const [path, entry] of layer) {
      if (posix.basename(path).startsWith(WHITEOUT)) continue;
      if (entry.type !== "dir") removeBelow(files, path);
      files.set(path, entry);
    }
  }
  return new Map([...files].map(([path, entry]) => [path, flat(entry, files)]));
}

function removeBelow(files: Map<string, TarEntry>, path: string): void {
  const prefix = path === "." ? "" : `${path}/`;
  for (const name of files.keys()) if (name.startsWith(prefix)) files.delete(name);
}

function flat(entry: TarEntry, files: ReadonlyMap<string, TarEntry>): FlatFile {
  const first =
    entry.type === "hardlink"
      ? (files.get(posix.normalize(`/${entry.linkname}`).slice(1)) ?? entry)
      : entry;
  return {
    type: first.type,
    mode: first.mode.toString(8),
    owner: `${first.uid}:${first.gid}`,
    // Asked for seldom, and all the names of busybox are one large file.
    get text() {
      return first.data.toString("utf8");
    },
    target: first.type === "symlink" ? first.linkname : "",
    mtime: first.mtime,
    xattrs: first.xattrs,
  };
}

function factsOf(found: FlatFile | undefined): string | undefined {
  return found === undefined ? undefined : `${found.type} ${found.mode} ${found.owner}`;
}

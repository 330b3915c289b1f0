/** Judges of an image that share no code with tsbuild: skopeo copies it, umoci unpacks it, runc or crun runs it. */
import { createHash } from "node:crypto";
import { lstat, mkdir, readdir, readFile, readlink, writeFile } from "node:fs/promises";
import { join, posix } from "node:path";
import { gunzipSync } from "node:zlib";
import { findTool, mustRun, run, type Outcome } from "./tools.js";
import { readTar, type TarEntry } from "./tools-tar.js";

export interface Descriptor {
  readonly mediaType: string;
  readonly digest: string;
  readonly size: number;
}

export interface ImageConfig {
  readonly architecture: string;
  readonly os: string;
  readonly created?: string;
  readonly config: {
    readonly Env?: readonly string[];
    readonly Cmd?: readonly string[];
    readonly Entrypoint?: readonly string[];
    readonly User?: string;
    readonly WorkingDir?: string;
    readonly Labels?: Readonly<Record<string, string>>;
    readonly ExposedPorts?: Readonly<Record<string, unknown>>;
  };
  readonly rootfs: { readonly diff_ids: readonly string[] };
  readonly history?: readonly { readonly created_by?: string; readonly empty_layer?: boolean }[];
}

export interface JudgedImage {
  readonly digest: string;
  readonly manifest: {
    readonly mediaType: string;
    readonly config: Descriptor;
    readonly layers: readonly Descriptor[];
  };
  readonly config: ImageConfig;
  /** The entries of each layer as they stand in its archive, the lowest layer first. */
  readonly layers: readonly (readonly TarEntry[])[];
}

/** Reads the one image of an OCI layout, and checks every digest, size and diff id on the way. */
export async function readLayout(dir: string): Promise<JudgedImage> {
  const blob = async ({ digest, size }: Descriptor): Promise<Buffer> => {
    const bytes = await readFile(join(dir, "blobs", ...digest.split(":")));
    if (sha256(bytes) !== digest || bytes.length !== size) throw new Error(`bad blob ${digest}`);
    return bytes;
  };
  const index = parse<{ manifests: Descriptor[] }>(await readFile(join(dir, "index.json")));
  const [descriptor] = index.manifests;
  if (descriptor === undefined || index.manifests.length !== 1) throw new Error("not one image");
  const manifest = parse<JudgedImage["manifest"]>(await blob(descriptor));
  const config = parse<ImageConfig>(await blob(manifest.config));
  const layers = [];
  for (const [i, layer] of manifest.layers.entries()) {
    const archive = await inflate(layer.mediaType, await blob(layer));
    if (sha256(archive) !== config.rootfs.diff_ids[i]) throw new Error(`bad diff id of layer ${i}`);
    layers.push(readTar(archive));
  }
  return { digest: descriptor.digest, manifest, config, layers };
}

async function inflate(mediaType: string, bytes: Buffer): Promise<Buffer> {
  if (mediaType.endsWith("gzip")) return gunzipSync(bytes);
  if (!mediaType.endsWith("zstd")) return bytes;
  const { spawnSync } = await import("node:child_process");
  const { stdout, status } = spawnSync("zstd", ["-dc"], { input: bytes, maxBuffer: 1 << 30 });
  if (status !== 0) throw new Error("zstd refuses the layer");
  return stdout;
}

function parse<T>(bytes: Buffer): T {
  return JSON.parse(bytes.toString("utf8")) as T;
}

function sha256(bytes: Uint8Array): string {
  return `sha256:${createHash("sha256").update(bytes).digest("hex")}`;
}

/** A layer's entries by their paths, without slashes at either end. */
export function byPath(entries: readonly TarEntry[]): ReadonlyMap<string, TarEntry> {
  return new Map(entries.map((entry) => [pathOf(entry.name), entry]));
}

function pathOf(name: string): string {
  return posix.normalize(`/${name}`).slice(1).replace(/\/$/, "");
}

/** Copies any image that skopeo can name into a fresh OCI layout under the tag `judged`. */
export async function copyToLayout(
  source: string,
  layout: string,
  flags: readonly string[] = [],
): Promise<void> {
  await mustRun("skopeo", ["copy", "--quiet", ...flags, source, `oci:${layout}:judged`]);
}

/** Unpacks a layout's image as root, by skopeo and umoci, and answers the bundle's path (`rootfs` is below it). */
export async function unpackBundle(layout: string, dir: string): Promise<string> {
  await mkdir(dir, { recursive: true });
  const judged = join(dir, "judged");
  await copyToLayout(`oci:${layout}`, judged);
  const bundle = join(dir, "bundle");
  await mustRun("umoci", ["unpack", "--image", `${judged}:judged`, bundle]);
  return bundle;
}

interface RuntimeConfig {
  process: { terminal: boolean; args: string[] };
  mounts: { destination: string }[];
}

/** Runs a bundle to its end in the first runtime that this machine lets run; the image's own command by default. */
export async function runBundle(bundle: string, argv?: readonly string[]): Promise<Outcome> {
  const path = join(bundle, "config.json");
  const config = parse<RuntimeConfig>(await readFile(path));
  config.process.terminal = false;
  if (argv !== undefined) config.process.args = [...argv];
  config.mounts = config.mounts.filter((mount) => mount.destination !== "/sys/fs/cgroup");
  await writeFile(path, JSON.stringify(config));
  const refusals: string[] = [];
  for (const [name, ...flags] of [["runc"], ["crun"], ["crun", "--cgroup-manager=disabled"]]) {
    const runtime = findTool(String(name));
    if (runtime === undefined) continue;
    const id = `tsbuild-test-${process.pid}-${Date.now()}`;
    const state = ["--root", join(bundle, "state")];
    const outcome = await run(runtime, [...flags, ...state, "run", "--bundle", bundle, id]);
    const refusal = `${outcome.stderr}${outcome.stdout}`;
    if (outcome.code === 0 || !/cgroup/.test(refusal)) return outcome;
    refusals.push(refusal);
  }
  throw new Error(`no runtime runs here: ${refusals.join("; ")}`);
}

export interface FileFacts {
  readonly type: string;
  /** Octal, with the set-id and sticky bits. */
  readonly mode: string;
  readonly owner: string;
  readonly size: number;
  readonly links: number;
  readonly target: string;
  readonly device: string;
  readonly content: string;
  readonly xattrs: Readonly<Record<string, string>>;
  /** Seconds, whole. */
  readonly mtime: number;
  /** The smallest path with the same inode: equal names mean that hard links survived. */
  readonly sameAs: string;
}

const TYPE_MASK = 0o170000;
const TYPES: Readonly<Record<number, string>> = {
  0o100000: "file",
  0o040000: "dir",
  0o120000: "symlink",
  0o020000: "char",
  0o060000: "block",
  0o010000: "fifo",
};

/** Everything that the kernel says about the files below `root`, by path. Needs root for what others own. */
export async function factsBelow(root: string): Promise<ReadonlyMap<string, FileFacts>> {
  const names = (await namesBelow(root, "")).sort();
  const xattrs = await xattrsBelow(root);
  const inodes = new Map<bigint, string>();
  const facts = new Map<string, FileFacts>();
  for (const name of names) {
    const path = join(root, name);
    const stat = await lstat(path, { bigint: true });
    const mode = Number(stat.mode);
    const type = TYPES[mode & TYPE_MASK] ?? "unknown";
    const sameAs = inodes.get(stat.ino) ?? name;
    inodes.set(stat.ino, sameAs);
    const isDevice = type === "char" || type === "block";
    facts.set(name, {
      type,
      mode: (mode & 0o7777).toString(8),
      owner: `${stat.uid}:${stat.gid}`,
      size: type === "file" ? Number(stat.size) : 0,
      links: type === "dir" ? 0 : Number(stat.nlink),
      target: type === "symlink" ? await readlink(path) : "",
      device: isDevice ? String(stat.rdev) : "",
      content: type === "file" ? sha256(await readFile(path)) : "",
      xattrs: xattrs.get(name) ?? {},
      mtime: Number(stat.mtimeNs / 1_000_000_000n),
      sameAs,
    });
  }
  return facts;
}

/** Every path below a directory. Node's own recursion follows symbolic links, out of the root too. */
async function namesBelow(root: string, below: string): Promise<string[]> {
  const names: string[] = [];
  for (const entry of await readdir(join(root, below), { withFileTypes: true })) {
    const name = join(below, entry.name);
    names.push(name);
    if (entry.isDirectory()) names.push(...(await namesBelow(root, name)));
  }
  return names;
}

/** Attributes in hexadecimal by path, as getfattr dumps them. */
async function xattrsBelow(root: string): Promise<ReadonlyMap<string, Record<string, string>>> {
  const dump = await mustRun("getfattr", ["-RPdh", "-m", "-", "-e", "hex", "--", "."], {
    cwd: root,
  });
  const found = new Map<string, Record<string, string>>();
  for (const paragraph of dump.split("\n\n")) {
    const [title, ...lines] = paragraph.trim().split("\n");
    if (title === undefined || !title.startsWith("# file: ")) continue;
    const values = lines.map((line) => line.split("=", 2) as [string, string]);
    found.set(unescapeOctal(title.slice("# file: ".length)), Object.fromEntries(values));
  }
  return found;
}

function unescapeOctal(name: string): string {
  return name.replace(/\\(\d{3})/g, (_, digits: string) =>
    String.fromCharCode(Number.parseInt(digits, 8)),
  );
}

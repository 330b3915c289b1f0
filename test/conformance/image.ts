/** The image that a case's build left, with its layers applied to one map of paths. */
import { createHash } from "node:crypto";
import { readFile } from "node:fs/promises";
import { join, posix } from "node:path";
import { gunzipSync } from "node:zlib";
import { readTar, type TarEntry } from "../support/tools-tar.js";

export interface Descriptor {
  readonly mediaType: string;
  readonly digest: string;
  readonly platform?: {
    readonly os: string;
    readonly architecture: string;
    readonly variant?: string;
  };
}

export interface History {
  readonly created?: string;
  readonly created_by?: string;
  readonly empty_layer?: boolean;
}

export interface Config {
  readonly config?: Readonly<Record<string, unknown>>;
  readonly rootfs: { readonly diff_ids: readonly string[] };
  readonly history?: readonly History[];
  readonly [key: string]: unknown;
}

/** What an entry of the flattened image is; hard links share one. */
export type Node = Pick<TarEntry, "type" | "mode" | "uid" | "gid" | "mtime" | "linkname" | "data">;

export interface FlatImage {
  readonly config: Config;
  readonly layers: number;
  /** By absolute path. */
  readonly nodes: ReadonlyMap<string, Node>;
  /** What the index that names the image's platforms holds; empty for a single image. */
  readonly platforms: readonly string[];
}

interface Manifest {
  readonly manifests?: readonly Descriptor[];
  readonly config: Descriptor;
  readonly layers: readonly Descriptor[];
}

/** Reads the image of an OCI layout for `platform`, else the first one. Throws when a digest or a diff id is wrong. */
export async function readImage(layout: string, platform: string | undefined): Promise<FlatImage> {
  let manifest = parse<Manifest>(await readFile(join(layout, "index.json")));
  let platforms: readonly string[] = [];
  while (manifest.manifests !== undefined) {
    const images = manifest.manifests;
    platforms = images.flatMap((image) => platformOf(image) ?? []);
    const picked = images.find((image) => platformOf(image) === platform) ?? images[0];
    if (picked === undefined) throw new Error("an index without a manifest");
    manifest = parse<Manifest>(await blob(layout, picked));
  }
  const config = parse<Config>(await blob(layout, manifest.config));
  if (config.rootfs.diff_ids.length !== manifest.layers.length) {
    throw new Error("diff ids and layers differ in number");
  }
  const nodes = new Map<string, Node>([["/", DIRECTORY]]);
  for (const [i, layer] of manifest.layers.entries()) {
    const bytes = await blob(layout, layer);
    const archive = layer.mediaType.endsWith("gzip") ? gunzipSync(bytes) : bytes;
    if (sha256(archive) !== config.rootfs.diff_ids[i]) throw new Error(`bad diff id of layer ${i}`);
    applyLayer(nodes, readTar(archive));
  }
  return { config, layers: manifest.layers.length, nodes, platforms };
}

function platformOf({ platform }: Descriptor): string | undefined {
  if (platform === undefined) return undefined;
  return [platform.os, platform.architecture, platform.variant].filter(Boolean).join("/");
}

async function blob(layout: string, { digest }: Descriptor): Promise<Buffer> {
  const bytes = await readFile(join(layout, "blobs", ...digest.split(":")));
  if (sha256(bytes) !== digest) throw new Error(`bad blob ${digest}`);
  return bytes;
}

function parse<T>(bytes: Buffer): T {
  return JSON.parse(bytes.toString("utf8")) as T;
}

function sha256(bytes: Uint8Array): string {
  return `sha256:${createHash("sha256").update(bytes).digest("hex")}`;
}

/** What a parent that no archive names amounts to. */
const DIRECTORY: Node = {
  type: "dir",
  mode: 0o755,
  uid: 0,
  gid: 0,
  mtime: 0,
  linkname: "",
  data: Buffer.alloc(0),
};
const OPAQUE = ".wh..wh..opq";
const WHITEOUT = ".wh.";

/** image-spec/layer.md, Whiteouts: they hide what lies below, never what the same layer brings. */
function applyLayer(nodes: Map<string, Node>, entries: readonly TarEntry[]): void {
  const isWhiteout = (entry: TarEntry): boolean =>
    posix.basename(pathOf(entry)).startsWith(WHITEOUT);
  for (const entry of entries.filter(isWhiteout)) {
    const { dir, base } = posix.parse(pathOf(entry));
    if (base === OPAQUE) removeBelow(nodes, dir);
    else remove(nodes, posix.join(dir, base.slice(WHITEOUT.length)));
  }
  for (const entry of entries) {
    if (isWhiteout(entry)) continue;
    const path = pathOf(entry);
    for (let dir = posix.dirname(path); !nodes.has(dir); dir = posix.dirname(dir)) {
      nodes.set(dir, DIRECTORY);
    }
    if (entry.type !== "dir") removeBelow(nodes, path);
    if (entry.type !== "hardlink") nodes.set(path, { ...entry, mode: entry.mode & 0o7777 });
    else {
      const target = nodes.get(posix.join("/", entry.linkname));
      if (target === undefined) throw new Error(`${path} links to ${entry.linkname}: missing`);
      nodes.set(path, target);
    }
  }
}

function pathOf(entry: TarEntry): string {
  const path = posix.normalize(`/${entry.name}`);
  return path === "/" ? path : path.replace(/\/$/, "");
}

function remove(nodes: Map<string, Node>, path: string): void {
  nodes.delete(path);
  removeBelow(nodes, path);
}

function removeBelow(nodes: Map<string, Node>, path: string): void {
  const prefix = path === "/" ? "/" : `${path}/`;
  for (const key of nodes.keys()) if (key !== "/" && key.startsWith(prefix)) nodes.delete(key);
}

import { createHash } from "node:crypto";
import { mkdirSync, readFileSync, renameSync, rmSync, writeFileSync } from "node:fs";
import { errnoOf, messageOf } from "../errors.js";
import { HASHING_IN_PLACE } from "../internal/hashing.js";
import { type TarHeader, tarHeader, TRAILER } from "../layer/index.js";
import { diffIdFromHex } from "../oci/digest.js";
import type { FileCalls } from "./linux/files.js";
import { MS, type MountCalls } from "./linux/mount.js";
import { IMAGE, mountImage, TAR } from "./snapshot/mounted-layers.js";
import { copyTar, makeImage } from "./snapshot/mounted-work.js";

export interface LayerMountsOrder {
  /** On the filesystem that layers are kept on. */
  readonly staging: string;
  readonly overlayOptions: string;
}

export interface LayerMountsCalls {
  readonly mounts: MountCalls;
  readonly files: FileCalls;
}

const CONTENT = "in the tar";
/** A version 2 capability without any bits, and an access list that says what mode 644 does: what a kernel may be built without. */
const CAPABILITY = Buffer.from("0000000200000000000000000000000000000000", "hex");
const ACCESS = Buffer.from("0200000001000600ffffffff04000400ffffffff20000400ffffffff", "hex");
const XATTRS: ReadonlyMap<string, Buffer> = new Map([
  ["user.note", Buffer.from("kept")],
  ["security.capability", CAPABILITY],
  ["system.posix_acl_access", ACCESS],
]);

/**
 * Tries what a build does with a layer that is not unpacked: writes an image, mounts it, and an overlay above it.
 * @returns why not; `undefined` when it works
 */
export async function probeLayerMounts(
  { staging, overlayOptions }: LayerMountsOrder,
  { mounts, files }: LayerMountsCalls,
): Promise<string | undefined> {
  const base = `${staging}/probe-layers`;
  const at = (name: string): string => `${base}/${name}`;
  try {
    rmSync(base, { recursive: true, force: true });
    for (const name of ["kept", "mounted", "upper", "work", "merged"])
      mkdirSync(at(name), { recursive: true });
    const refused = refusedAtOnce(base, mounts);
    if (refused !== undefined) return refused;
    await makeSample(at("kept"), files);
    mountImage(mounts, at("kept"), at("mounted"));
    try {
      tryImage(at("mounted"), files);
      tryAbove(base, overlayOptions, mounts);
    } finally {
      mounts.unmount(at("mounted"));
    }
    return undefined;
  } catch (error) {
    return messageOf(error);
  } finally {
    rmSync(base, { recursive: true, force: true });
  }
}

/** The kernel asks who one is, and knows whether it has the filesystem, before it looks for the image. */
function refusedAtOnce(base: string, mounts: MountCalls): string | undefined {
  try {
    mounts.mount(`${base}/absent`, `${base}/mounted`, "erofs", MS.RDONLY);
  } catch (error) {
    const errno = errnoOf(error);
    if (errno === "EPERM") return "only root of the machine itself may mount images of layers";
    if (errno === "ENODEV") return "this kernel has no EROFS";
  }
  return undefined;
}

async function makeSample(kept: string, files: FileCalls): Promise<void> {
  const described = { uid: 1, gid: 2, mtimeNs: 3n };
  const entry: TarHeader = {
    ...described,
    path: "file",
    type: "file",
    mode: 0o644,
    size: CONTENT.length,
    xattrs: XATTRS,
  };
  const body = Buffer.alloc(512);
  body.write(CONTENT);
  const tar = Buffer.concat([tarHeader(entry), body, TRAILER]);
  const blob = `${kept}/${TAR}`;
  writeFileSync(blob, tar);
  const diffId = diffIdFromHex(createHash("sha256").update(tar).digest("hex"));
  const indexFile = `${kept}/index`;
  const { signal } = new AbortController();
  const layer = { diffId, path: blob, compression: "none" } as const;
  await copyTar({ kind: "copy", layer, indexFile }, HASHING_IN_PLACE, signal);
  const image = { indexFile, imageFile: `${kept}/${IMAGE}`, tarSize: tar.length, name: "probe" };
  const made = await makeImage(files, { ...image, kind: "image", paths: [], lowers: [] }, signal);
  if (made.refused !== undefined) throw new Error(made.refused);
}

function tryImage(mounted: string, files: FileCalls): void {
  const file = `${mounted}/file`;
  if (readFileSync(file, "utf8") !== CONTENT) throw new Error("erofs: a file has other bytes");
  for (const [name, value] of XATTRS) {
    if (files.getXattr(file, name)?.equals(value) !== true)
      throw new Error(`erofs: this kernel does not show the attribute ${name}`);
  }
}

function tryAbove(base: string, options: string, mounts: MountCalls): void {
  process.chdir(base);
  try {
    const data = `lowerdir=mounted,upperdir=upper,workdir=work,${options}`;
    mounts.mount("overlay", `${base}/merged`, "overlay", 0, data);
  } finally {
    process.chdir("/");
  }
  try {
    renameSync(`${base}/merged/file`, `${base}/merged/renamed`);
    if (readFileSync(`${base}/merged/renamed`, "utf8") !== CONTENT)
      throw new Error("erofs: a file has other bytes below an overlay mount");
  } finally {
    mounts.unmount(`${base}/merged`);
  }
}

/**
 * Base images for the tests, made from Debian's packages and kept as OCI layouts in a cache that test runs share.
 * Each function answers the path of a layout whose one image has the tag `latest`.
 */
import { createHash } from "node:crypto";
import { existsSync } from "node:fs";
import { mkdir, mkdtemp, readFile, rename, rm, stat, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { gzipSync } from "node:zlib";
import { bootstrapDebian, extractPackage } from "./bases-debian.js";
import { nastyLayers } from "./bases-nasty.js";
import {
  currentProcess,
  formatProcess,
  parseProcess,
  processState,
} from "../../src/internal/process-identity.js";
import { findTool, mustRun } from "./tools.js";
import { writeTar, type TarInput } from "./tools-tar.js";
import type { RegistryService } from "./services.js";

/** Seconds: every entry's time, so that the same base always has the same digest. */
export const BASE_MTIME = 1_700_000_000;
const CREATED = "2023-11-14T22:13:20Z";
const PATH = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
/** Change it when what a base holds changes: old caches are then left alone. */
const CACHE_VERSION = "v1";
const STALE_LOCK_MS = 15 * 60_000;

const ARCHITECTURES: Readonly<Record<string, string>> = { x64: "amd64", arm64: "arm64" };

/** The OCI name of this machine's processor. */
export function hostArchitecture(): string {
  return ARCHITECTURES[process.arch] ?? process.arch;
}

/** Where the bases are kept: `TSBUILD_TEST_CACHE`, or a directory of this user's under the system's temp directory. */
export function cacheDir(): string {
  const uid = process.getuid?.() ?? 0;
  const name = uid === 0 ? "tsbuild-test-cache" : `tsbuild-test-cache-${uid}`;
  return process.env["TSBUILD_TEST_CACHE"] ?? join(tmpdir(), name);
}

/** busybox-static with a link for each applet, a handful of users, and nothing else: 2 MB, one layer. */
export function busyboxBase(): Promise<string> {
  return cached("busybox", async (dir) => {
    await writeLayout(dir, { layers: [await busyboxTar()], cmd: ["sh"] });
  });
}

/** The same for another architecture, under Debian's name of it, which is the image's own for amd64 and arm64. */
export function foreignBusyboxBase(architecture: "amd64" | "arm64"): Promise<string> {
  return cached(`busybox-${architecture}`, async (dir) => {
    const root = join(dir, "root");
    await extractPackage(dir, root, { name: "busybox-static", architecture });
    const layers = [await busyboxTar(join(root, "bin/busybox"))];
    await rm(root, { recursive: true });
    await writeLayout(dir, { layers, cmd: ["sh"], architecture });
  });
}

/** Debian bookworm by mmdebstrap (variant minbase), with this machine's mirror and apt's `Acquire` settings. */
export function debianBase(): Promise<string> {
  return cached("debian", async (dir) => {
    await writeLayout(dir, { layers: [await bootstrapDebian(dir)], cmd: ["bash"] });
  });
}

/** Two layers with everything that a careless tool loses; see `bases-nasty.ts`. */
export function nastyBase(): Promise<string> {
  return cached("nasty", async (dir) => {
    const busybox = await readFile(await busyboxPath());
    await writeLayout(dir, { layers: nastyLayers(busybox).map(writeTar), cmd: ["sh"] });
  });
}

/** Pushes a layout's image to `<registry>/<name>` with its manifest in OCI or in Docker v2s2 form. */
export async function pushBase(
  layout: string,
  registry: RegistryService,
  name: string,
  form: "oci" | "v2s2" = "oci",
): Promise<string> {
  const reference = `${registry.host}/${name}`;
  await mustRun("skopeo", [
    "copy",
    "--quiet",
    "--format",
    form,
    ...registry.skopeoFlags("dest"),
    `oci:${layout}:latest`,
    `docker://${reference}`,
  ]);
  return reference;
}

export interface LayoutImage {
  /** Uncompressed archives, the lowest first. */
  readonly layers: readonly Buffer[];
  readonly cmd?: readonly string[];
  readonly user?: string;
  readonly env?: readonly string[];
  /** This machine's when absent. */
  readonly architecture?: string;
}

/** Writes an OCI layout with one image, tagged `latest`, of gzip layers. */
export async function writeLayout(dir: string, image: LayoutImage): Promise<void> {
  const blobs = join(dir, "blobs", "sha256");
  await mkdir(blobs, { recursive: true });
  const put = async (mediaType: string, data: Buffer): Promise<Descriptor> => {
    await writeFile(join(blobs, sha256(data)), data);
    return { mediaType, digest: `sha256:${sha256(data)}`, size: data.length };
  };
  const layers = await Promise.all(
    image.layers.map((layer) =>
      put("application/vnd.oci.image.layer.v1.tar+gzip", gzipSync(layer, { level: 6 })),
    ),
  );
  const { architecture = hostArchitecture() } = image;
  const platform = { architecture, os: "linux" };
  const config = await put(
    "application/vnd.oci.image.config.v1+json",
    json({
      created: CREATED,
      ...platform,
      config: {
        Env: [PATH, ...(image.env ?? [])],
        Cmd: image.cmd ?? ["sh"],
        WorkingDir: "/",
        ...(image.user === undefined ? {} : { User: image.user }),
      },
      rootfs: { type: "layers", diff_ids: image.layers.map((layer) => `sha256:${sha256(layer)}`) },
      history: image.layers.map((_, i) => ({ created: CREATED, created_by: `layer ${i}` })),
    }),
  );
  const mediaType = "application/vnd.oci.image.manifest.v1+json";
  const manifest = await put(mediaType, json({ schemaVersion: 2, mediaType, config, layers }));
  const annotations = { "org.opencontainers.image.ref.name": "latest" };
  await writeFile(
    join(dir, "index.json"),
    json({ schemaVersion: 2, manifests: [{ ...manifest, platform, annotations }] }),
  );
  await writeFile(join(dir, "oci-layout"), json({ imageLayoutVersion: "1.0.0" }));
}

interface Descriptor {
  readonly mediaType: string;
  readonly digest: string;
  readonly size: number;
}

function json(value: unknown): Buffer {
  return Buffer.from(JSON.stringify(value));
}

function sha256(data: Buffer): string {
  return createHash("sha256").update(data).digest("hex");
}

/** Makes a directory once however many test processes ask at the same time, and never leaves half of one. */
export async function cached(
  name: string,
  make: (dir: string) => Promise<void>,
  { keepModes = false }: { readonly keepModes?: boolean } = {},
): Promise<string> {
  const root = join(cacheDir(), CACHE_VERSION);
  await mkdir(root, { recursive: true });
  const final = join(root, name);
  const lock = join(root, `${name}.lock`);
  while (!existsSync(final)) {
    if (!(await takeLock(lock))) continue;
    try {
      if (existsSync(final)) break;
      const half = await mkdtemp(join(root, `${name}.half-`));
      await make(half);
      // An ordinary user's tests read it too.
      if (!keepModes) await mustRun("chmod", ["-R", "u+rwX,go+rX", half]);
      await rename(half, final);
    } finally {
      await rm(lock, { recursive: true, force: true });
    }
  }
  return final;
}

async function takeLock(lock: string): Promise<boolean> {
  try {
    await mkdir(lock);
    await writeFile(join(lock, "owner"), formatProcess(currentProcess()));
    return true;
  } catch {
    if (await isStale(lock)) await rm(lock, { recursive: true, force: true });
    else await new Promise((resolve) => setTimeout(resolve, 200));
    return false;
  }
}

/** A lock whose owner is gone, as after a killed test run. */
async function isStale(lock: string): Promise<boolean> {
  const owner = parseProcess(await readFile(join(lock, "owner"), "utf8").catch(() => ""));
  const state = owner === undefined ? "unknown" : processState(owner);
  if (state !== "unknown") return state === "dead";
  const info = await stat(lock).catch(() => undefined);
  return info !== undefined && Date.now() - info.mtimeMs > STALE_LOCK_MS;
}

async function busyboxPath(): Promise<string> {
  const path = findTool("busybox");
  if (path === undefined) throw new Error("busybox-static is not installed");
  return path;
}

const DIRECTORIES: Readonly<Record<string, number>> = {
  ...Object.fromEntries(
    ["bin", "dev", "etc", "home", "lib64", "sbin", "usr", "usr/bin", "usr/sbin", "var"].map(
      (name) => [name, 0o755],
    ),
  ),
  root: 0o700,
  tmp: 0o1777,
  "var/tmp": 0o1777,
};

const PASSWD = `root:x:0:0:root:/root:/bin/sh
daemon:x:1:1:daemon:/usr/sbin:/bin/false
nobody:x:65534:65534:nobody:/home:/bin/false
`;
const GROUP = `root:x:0:
daemon:x:1:
tty:x:5:
users:x:100:
nogroup:x:65534:
`;

/** The small system's archive; also the lower half of other bases. `file`: another busybox, of the same version. */
export async function busyboxTar(file?: string): Promise<Buffer> {
  const program = await busyboxPath();
  const applets = (await mustRun(program, ["--list-full"])).trim().split("\n");
  const at = { mtime: BASE_MTIME };
  const entries: TarInput[] = [
    ...Object.entries(DIRECTORIES)
      .sort(([a], [b]) => (a < b ? -1 : 1))
      .map(([name, mode]): TarInput => ({ ...at, name, type: "dir", mode })),
    { ...at, name: "etc/passwd", data: PASSWD },
    { ...at, name: "etc/group", data: GROUP },
    { ...at, name: "etc/shadow", mode: 0o640, data: "root:*:19000:0:99999:7:::\n" },
    { ...at, name: "bin/busybox", mode: 0o755, data: await readFile(file ?? program) },
    ...applets
      .filter((name) => name !== "bin/busybox" && /^(usr\/)?s?bin\/[^/]+$/.test(name))
      .sort()
      .map((name): TarInput => ({
        ...at,
        name,
        type: "hardlink",
        mode: 0o755,
        linkname: "bin/busybox",
      })),
  ];
  return writeTar(entries);
}

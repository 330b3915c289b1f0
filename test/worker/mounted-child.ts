// Prepares the same layers twice, unpacked and mounted, and tells what their lower directories show.
import {
  copyFileSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  renameSync,
  statSync,
  truncateSync,
  writeFileSync,
} from "node:fs";
import { join } from "node:path";
import { messageOf } from "../../src/errors.js";
import { diffIdFromHex, hexOf } from "../../src/oci/digest.js";
import { createLayerHost } from "../../src/worker/layer-host.js";
import type { LayerHost } from "../../src/worker/layer-host-types.js";
import { openFileCalls } from "../../src/worker/linux/files.js";
import { loadLibc } from "../../src/worker/linux/libc.js";
import { openMountCalls } from "../../src/worker/linux/mount.js";
import { probeLayerMounts } from "../../src/worker/probe-layer-mounts.js";
import type { LayerBlob } from "../../src/worker/types.js";
import type { MountedCase, MountedOutcome, MountedView } from "./mounted-case.js";
import { stateOf } from "./tree-state.js";

const libc = loadLibc();
const files = openFileCalls(libc);
const mounts = openMountCalls(libc);
const signal = new AbortController().signal;
const overlayOptions = "userxattr";

/** A host in `at`, which keeps its layers there. */
function open(at: string, isMounted: boolean): LayerHost {
  const [staging, layersDirectory] = [join(at, "staging", "build"), join(at, "layers")];
  const mountedLayers = join(at, "mounted");
  for (const path of [staging, layersDirectory, mountedLayers])
    mkdirSync(path, { recursive: true });
  return createLayerHost({
    staging,
    layersDirectory,
    idMap: "host",
    driver: "overlay",
    singleId: false,
    threadFile,
    ...(isMounted ? { mountedLayers } : {}),
  });
}

async function view(host: LayerHost, layers: readonly LayerBlob[]): Promise<MountedView> {
  try {
    await using root = await host.prepare(layers, signal);
    const mount = root.begin();
    if (mount.kind !== "overlay") throw new Error("no overlay");
    const { lower, upper, work, target } = mount;
    const data = `${overlayOptions},lowerdir=${lower.join(":")},upperdir=${upper},workdir=${work}`;
    mounts.mount("overlay", target, "overlay", 0, data);
    try {
      return {
        lowers: lower.map((path) => stateOf(files, path, true)),
        merged: stateOf(files, target),
        isMount: lower.map((path) => statSync(path).dev !== statSync(place).dev),
        warnings: await host.takeWarnings(),
      };
    } finally {
      mounts.unmount(target);
      root.end();
    }
  } catch (error) {
    await host.takeWarnings();
    return { error: messageOf(error) };
  }
}

function damage(at: string, how: NonNullable<MountedCase["damage"]>): void {
  for (const name of readdirSync(at).filter((each) => !each.endsWith(".used"))) {
    const [tar, image] = [join(at, name, "layer.tar"), join(at, name, "layer.erofs")];
    if (how === "tar") {
      // A copy: where the tar is the blob itself, that one stays whole.
      copyFileSync(tar, `${tar}.copy`);
      renameSync(`${tar}.copy`, tar);
      truncateSync(tar, statSync(tar).size - 1024);
    } else if (how === "image") truncateSync(image, statSync(image).size - 512);
    else flipByte(image);
  }
}

function flipByte(image: string): void {
  const bytes = readFileSync(image);
  bytes[1600] = (bytes[1600] ?? 0) ^ 0xff;
  writeFileSync(image, bytes);
}

/** What is made is damaged, and then asked for by another host. */
async function viewDamaged(
  at: string,
  layers: readonly LayerBlob[],
  how: NonNullable<MountedCase["damage"]>,
): Promise<MountedView> {
  {
    await using first = open(at, true);
    await view(first, layers);
  }
  damage(join(at, "mounted"), how);
  await using second = open(at, true);
  return await view(second, layers);
}

/** How many names the kept tars of layers have. */
function linksOf(layers: readonly LayerBlob[]): readonly number[] {
  return layers
    .map(({ diffId }) => join(place, "mounted/mounted", hexOf(diffId), "layer.tar"))
    .flatMap((tar) => statSync(tar, { throwIfNoEntry: false })?.nlink ?? []);
}

async function play(cases: readonly MountedCase[]): Promise<readonly MountedOutcome[]> {
  await using unpacking = open(join(place, "unpacked"), false);
  await using mounting = open(join(place, "mounted"), true);
  const outcomes: MountedOutcome[] = [];
  for (const [at, one] of cases.entries()) {
    const layers = one.layers.map(({ path, hex, compression }): LayerBlob => {
      return { diffId: diffIdFromHex(hex), path, compression };
    });
    const unpacked = await view(unpacking, layers);
    const mounted =
      one.damage === undefined
        ? await view(mounting, layers)
        : await viewDamaged(join(place, `damaged-${at}`), layers, one.damage);
    outcomes.push({ unpacked, mounted, links: linksOf(layers) });
  }
  return outcomes;
}

const [place = "", threadFile = ""] = process.argv.slice(2);
const cases = JSON.parse(readFileSync(0, "utf8")) as MountedCase[];
const probed = join(place, "probed");
mkdirSync(probed);
const refused = await probeLayerMounts({ staging: probed, overlayOptions }, { mounts, files });
const outcomes = refused === undefined ? await play(cases) : [];
const left = refused === undefined ? readdirSync(join(place, "mounted/staging/build")) : [];
const isLeft = readFileSync("/proc/self/mountinfo", "utf8").includes(" erofs ");
process.stdout.write(JSON.stringify({ refused, outcomes, left, isLeft }));

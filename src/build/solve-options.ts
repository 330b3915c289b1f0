import { readFile } from "node:fs/promises";
import { TsbuildError } from "../errors.js";
import { formatPlatform, hostPlatform, parsePlatform } from "../oci/platform.js";
import type { Platform } from "../oci/types.js";
import type { SolveOptions } from "../solver/types.js";
import type { BuildOptions } from "./options.js";
import { stepOptions } from "./step-options.js";

const LOCALHOST = "127.0.0.1\tlocalhost\n::1\tlocalhost ip6-localhost ip6-loopback\n";

/** The options that decide what an image is, for each platform that is built. @throws TsbuildError USAGE */
export async function solveOptions(options: BuildOptions): Promise<readonly SolveOptions[]> {
  const buildPlatform = hostPlatform();
  const { compression, compressionLevel, platform } = options;
  // Docker's format has no zstd, so a base in it becomes OCI, as with BuildKit.
  const imageFormat = options.imageFormat ?? (compression === "zstd" ? "oci" : undefined);
  if (compression === "zstd" && imageFormat === "docker") {
    throw new TsbuildError("USAGE", "Docker's image format has no zstd layers", {
      hint: "use --image-format=oci or --compression=gzip",
    });
  }
  const platforms = platform === undefined ? [undefined] : uniquePlatforms(platform);
  const shared = {
    buildArgs: buildArgs(options),
    labels: new Map(Object.entries(options.labels ?? {})),
    buildPlatform,
    platformRequested: platform !== undefined,
    compression: leavesNothingPacked(options) ? "none" : (compression ?? "gzip"),
    ...(leavesNothingPacked(options) ? { staysHere: true as const } : {}),
    ...(compressionLevel === undefined ? {} : { compressionLevel }),
    ...(imageFormat === undefined ? {} : { imageFormat }),
    rewriteTimestamp: options.reproducible === true || options.rewriteTimestamp === true,
    ...(options.singleSnapshot === true ? { singleSnapshot: true as const } : {}),
    ...(options.materialize === true ? { materialize: true as const } : {}),
    hosts: await readOr("/etc/hosts", LOCALHOST),
    resolvConf: await readOr("/etc/resolv.conf", ""),
    step: stepOptions(options),
  };
  return platforms.map((target) => ({ ...shared, targetPlatform: target ?? buildPlatform }));
}

function uniquePlatforms(text: string): readonly Platform[] {
  const platforms = text.split(",").map((one) => parsePlatform(one.trim()));
  return [...new Map(platforms.map((one) => [formatPlatform(one), one])).values()];
}

/** The environment's SOURCE_DATE_EPOCH is a build argument, as in buildx, unless there is one. */
function buildArgs({ buildArgs: given = {}, environment = {} }: BuildOptions): Map<string, string> {
  const epoch = environment["SOURCE_DATE_EPOCH"] ?? "";
  return new Map(Object.entries(epoch === "" ? given : { SOURCE_DATE_EPOCH: epoch, ...given }));
}

/** Files alone are made of the image: its layers are read here once, and go nowhere. */
function leavesNothingPacked(options: BuildOptions): boolean {
  const { outputs = [], destinations = [], tarPath, ociLayoutPath } = options;
  const named = [options.digestFile, options.metadataFile, options.imageNameWithDigestFile];
  const asked = [...named, options.imageNameTagWithDigestFile, tarPath, ociLayoutPath];
  const isFiles =
    outputs.length > 0 && outputs.every(({ type }) => type === "local" || type === "tar");
  const { registryCache, cacheTo = [] } = options;
  const isFilled = registryCache !== undefined && registryCache.push !== false;
  const isSent = isFilled || cacheTo.length > 0;
  if (isSent && options.cache !== false) return false;
  return isFiles && destinations.length === 0 && asked.every((path) => path === undefined);
}

async function readOr(path: string, otherwise: string): Promise<string> {
  try {
    return await readFile(path, "utf8");
  } catch {
    return otherwise;
  }
}

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
  const { compression, compressionLevel, imageFormat, platform } = options;
  if (compression === "zstd" && imageFormat === "docker") {
    throw new TsbuildError("USAGE", "Docker's image format has no zstd layers", {
      hint: "use --image-format=oci or --compression=gzip",
    });
  }
  const platforms = platform === undefined ? [undefined] : uniquePlatforms(platform);
  const shared = {
    buildArgs: new Map(Object.entries(options.buildArgs ?? {})),
    labels: new Map(Object.entries(options.labels ?? {})),
    buildPlatform,
    platformRequested: platform !== undefined,
    compression: compression ?? "gzip",
    ...(compressionLevel === undefined ? {} : { compressionLevel }),
    ...(imageFormat === undefined ? {} : { imageFormat }),
    rewriteTimestamp: options.reproducible ?? false,
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

/**
 * https://reproducible-builds.org/specs/source-date-epoch/
 * @param declared what the Dockerfile's global ARG says, with the build arguments in it
 * @throws TsbuildError USAGE
 */
export function sourceDateEpoch(
  options: BuildOptions,
  declared: string | undefined,
): number | undefined {
  const named =
    options.buildArgs?.["SOURCE_DATE_EPOCH"] ??
    declared ??
    options.environment?.["SOURCE_DATE_EPOCH"] ??
    "";
  if (named === "") return options.reproducible === true ? 0 : undefined;
  if (!/^\d{1,12}$/.test(named)) {
    throw new TsbuildError("USAGE", `invalid SOURCE_DATE_EPOCH: "${named}"`, {
      hint: "expected seconds since 1970-01-01, as date +%s prints them",
    });
  }
  return Number(named);
}

async function readOr(path: string, otherwise: string): Promise<string> {
  try {
    return await readFile(path, "utf8");
  } catch {
    return otherwise;
  }
}

import { TsbuildError } from "../errors.js";
import type { Platform } from "./types.js";

const ARCHITECTURES: Readonly<Record<string, readonly [architecture: string, variant?: string]>> = {
  x86_64: ["amd64"],
  "x86-64": ["amd64"],
  i386: ["386"],
  i686: ["386"],
  x86: ["386"],
  aarch64: ["arm64"],
  armhf: ["arm", "v7"],
  armel: ["arm", "v6"],
};
const OPERATING_SYSTEMS: Readonly<Record<string, string>> = { macos: "darwin" };
/** Node's names of processors that differ from Go's, which the image-spec uses. */
const NODE_ARCHITECTURES: Readonly<Record<string, string>> = {
  x64: "amd64",
  ia32: "386",
  mipsel: "mipsle",
  ppc64: "ppc64le",
};
const PART = /^[A-Za-z0-9_.-]+$/;

/** containerd's normalisation: arm64/v8 is arm64, arm is arm/v7, amd64/v1 is amd64. */
export function normalizePlatform(platform: Platform): Platform {
  const os = platform.os.toLowerCase();
  const named = platform.architecture.toLowerCase();
  const [architecture, implied] = ARCHITECTURES[named] ?? [named];
  let variant = (platform.variant ?? implied ?? "").toLowerCase();
  if (architecture === "arm64" && (variant === "v8" || variant === "8")) variant = "";
  if (architecture === "amd64" && variant === "v1") variant = "";
  if (architecture === "arm") variant = variant === "" ? "v7" : variant.replace(/^(\d)/, "v$1");
  return {
    os: OPERATING_SYSTEMS[os] ?? os,
    architecture,
    ...(variant === "" ? {} : { variant }),
    ...(platform.osVersion === undefined ? {} : { osVersion: platform.osVersion }),
  };
}

/** The platform that this process runs on. */
export function hostPlatform(): Platform {
  return normalizePlatform({
    os: process.platform,
    architecture: NODE_ARCHITECTURES[process.arch] ?? process.arch,
  });
}

/**
 * Reads `os[/arch[/variant]]`, or an architecture alone, with containerd's aliases.
 * @throws TsbuildError USAGE
 */
export function parsePlatform(text: string): Platform {
  const parts = text.split("/");
  const bad = parts.length > 3 || parts.some((part) => !PART.test(part));
  if (text === "" || bad) {
    throw new TsbuildError("USAGE", `"${text}" is not a platform`, {
      hint: "expected os/architecture[/variant], for example linux/amd64 or linux/arm/v7",
    });
  }
  const [first = "", architecture, variant] = parts;
  const host = hostPlatform();
  if (architecture === undefined) {
    const knownOs = ["linux", "windows", "darwin", "macos", "freebsd"].includes(
      first.toLowerCase(),
    );
    return normalizePlatform(
      knownOs
        ? { os: first, architecture: host.architecture }
        : { os: host.os, architecture: first },
    );
  }
  return normalizePlatform({
    os: first,
    architecture,
    ...(variant === undefined ? {} : { variant }),
  });
}

export function formatPlatform(platform: Platform): string {
  return [platform.os, platform.architecture, platform.variant].filter(Boolean).join("/");
}

/** The 32-bit architecture that a 64-bit one runs too, as containerd's platforms.Only has it. */
const NARROWER: Readonly<Record<string, string>> = { amd64: "386", arm64: "arm" };

/** The number of `v7` and the like; a variant that is left out is the first one. */
function variantLevel(variant: string | undefined): number {
  return Number(/^v(\d+)$/.exec(variant ?? "")?.[1] ?? 1);
}

/**
 * How well a manifest's platform serves a wanted one: 0 not at all, higher is better. As containerd's platforms.Only:
 * arm and amd64 variants run their predecessors' code, and in the last resort 64-bit processors run 32-bit code.
 */
export function matchPlatform(offered: Platform, wanted: Platform): number {
  const have = normalizePlatform(offered);
  const want = normalizePlatform(wanted);
  if (have.os !== want.os) return 0;
  if (have.architecture !== want.architecture) {
    if (have.architecture !== NARROWER[want.architecture]) return 0;
    return Math.min(9, variantLevel(have.variant));
  }
  if ((have.variant ?? "") === (want.variant ?? "")) return 100;
  if (want.architecture === "arm" || want.architecture === "amd64") {
    const level = variantLevel(have.variant);
    return level < variantLevel(want.variant) ? 10 + level : 0;
  }
  return have.variant === undefined ? 10 : 0;
}

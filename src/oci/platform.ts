import { TsbuildError } from "../errors.js";
import type { Platform } from "./types.js";

/** Other names of architectures; a variant that the name implies takes the place of any other. */
const ARCHITECTURES: Readonly<Record<string, readonly [architecture: string, variant?: string]>> = {
  x86_64: ["amd64"],
  "x86-64": ["amd64"],
  i386: ["386", ""],
  aarch64: ["arm64"],
  armhf: ["arm", "v7"],
  armel: ["arm", "v6"],
};
const VARIANTS: Readonly<Record<string, Readonly<Record<string, string>>>> = {
  amd64: { v1: "" },
  arm64: { "8": "", v8: "", "v8.0": "", "9": "v9", "9.0": "v9", "v9.0": "v9" },
  arm: { "": "v7", "5": "v5", "6": "v6", "7": "v7", "8": "v8" },
};
/** What may stand alone, without a slash. */
const KNOWN_SYSTEMS: ReadonlySet<string> = new Set(
  "aix android darwin dragonfly freebsd hurd illumos ios js linux nacl netbsd openbsd plan9 solaris windows zos".split(
    " ",
  ),
);
const KNOWN_ARCHITECTURES: ReadonlySet<string> = new Set(
  (
    "386 amd64 amd64p32 arm armbe arm64 arm64be ppc64 ppc64le loong64 mips mipsle mips64 mips64le mips64p32 " +
    "mips64p32le ppc riscv riscv64 s390 s390x sparc sparc64 wasm"
  ).split(" "),
);
const OPERATING_SYSTEMS: Readonly<Record<string, string>> = { macos: "darwin" };
/** Node's names of processors that differ from Go's, which the image-spec uses. */
const NODE_ARCHITECTURES: Readonly<Record<string, string>> = {
  x64: "amd64",
  ia32: "386",
  mipsel: "mipsle",
  ppc64: "ppc64le",
};
const PART = /^[A-Za-z0-9_.-]+$/;
/** A system, and its version in parentheses. */
const SYSTEM = /^([A-Za-z0-9_-]+)(?:\(([A-Za-z0-9_.-]*)\))?$/;

/** containerd's normalisation: arm64/v8 is arm64, arm is arm/v7, amd64/v1 is amd64. */
export function normalizePlatform(platform: Platform): Platform {
  const os = platform.os.toLowerCase();
  const named = platform.architecture.toLowerCase();
  const [architecture, implied] = ARCHITECTURES[named] ?? [named];
  const given = implied ?? (platform.variant ?? "").toLowerCase();
  const variant = VARIANTS[architecture]?.[given] ?? given;
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
 * Reads `os[(version)][/arch[/variant]]`, or an architecture alone, with containerd's aliases. A name alone must be one that
 * is known.
 * @throws TsbuildError USAGE
 */
export function parsePlatform(text: string): Platform {
  const parts = text.split("/");
  const [first = "", architecture, variant] = parts;
  const system = SYSTEM.exec(first);
  if (system === null || parts.length > 3 || parts.slice(1).some((part) => !PART.test(part))) {
    refuse(text);
  }
  const [, os = "", version = ""] = system;
  const osVersion = version === "" ? {} : { osVersion: version };
  if (architecture === undefined) return known(text, os, osVersion);
  return normalizePlatform({
    os,
    architecture,
    ...(variant === undefined ? {} : { variant }),
    ...osVersion,
  });
}

/** A system or an architecture alone; the other one is this machine's. */
function known(text: string, os: string, osVersion: Pick<Platform, "osVersion">): Platform {
  const host = hostPlatform();
  const system = normalizePlatform({ os, architecture: host.architecture, ...osVersion });
  if (KNOWN_SYSTEMS.has(system.os)) return system;
  const processor = normalizePlatform({ os: host.os, architecture: text });
  if (KNOWN_ARCHITECTURES.has(processor.architecture)) return processor;
  return refuse(text);
}

function refuse(text: string): never {
  throw new TsbuildError("USAGE", `"${text}" is not a platform`, {
    hint: "expected os/architecture[/variant], for example linux/amd64 or linux/arm/v7",
  });
}

export function formatPlatform(platform: Platform): string {
  return [platform.os, platform.architecture, platform.variant].filter(Boolean).join("/");
}

/** `windows(10.0.17763)/amd64`: with the system's version, as containerd prints it. */
export function describePlatform(platform: Platform): string {
  const { os, osVersion } = platform;
  return formatPlatform(
    osVersion === undefined ? platform : { ...platform, os: `${os}(${osVersion})` },
  );
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

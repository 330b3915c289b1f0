/** Debian, bookworm unless said otherwise, by mmdebstrap, able to reach the package mirror that this machine uses. */
import { existsSync } from "node:fs";
import { readdir, readFile, rm, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { mustRun } from "./tools.js";

const SUITE = "bookworm";
const DEFAULT_MIRROR = "http://deb.debian.org/debian";
/** Five hundred packages on a machine that does other things too. */
const BOOTSTRAP_TIMEOUT_MS = 3_600_000;
const HOST_CAS = "/etc/ssl/certs/ca-certificates.crt";

/** Makes the root filesystem's archive, with `packages` besides the smallest system. `dir` holds what it needs on the way and is left as it was. */
export async function bootstrapDebian(
  dir: string,
  packages: readonly string[] = [],
): Promise<Buffer> {
  const archive = join(dir, "debian.tar");
  await bootstrapSuite(dir, archive, { packages });
  const bytes = await readFile(archive);
  await rm(archive);
  return bytes;
}

export interface SuiteOptions {
  readonly packages?: readonly string[];
  /** Debian's name of the release; bookworm when absent. */
  readonly suite?: string;
  /** Shell commands that find the new root in `$1`, run when it is complete. */
  readonly hooks?: readonly string[];
}

/** Makes a root filesystem: an archive when `target` ends in .tar, else a directory. `dir` holds what it needs on the way. */
export async function bootstrapSuite(
  dir: string,
  target: string,
  { packages = [], suite = SUITE, hooks = [] }: SuiteOptions = {},
): Promise<void> {
  const acquire = join(dir, "acquire.conf");
  const mirror = await hostMirror();
  await writeFile(acquire, await hostAcquireSettings());
  const flags = [
    "--quiet",
    "--variant=minbase",
    `--aptopt=${acquire}`,
    '--aptopt=Acquire::Check-Valid-Until "false"',
    `--include=${["ca-certificates", ...packages].join(",")}`,
    ...["doc", "man", "locale"].map((kind) => `--dpkgopt=path-exclude=/usr/share/${kind}/*`),
    ...(existsSync(acquire)
      ? [`--customize-hook=upload ${acquire} /etc/apt/apt.conf.d/90tsbuild-test`]
      : []),
    // A mirror behind https may be reached through a CA that only this machine knows.
    ...(mirror.startsWith("https:") && existsSync(HOST_CAS)
      ? [`--customize-hook=upload ${HOST_CAS} ${HOST_CAS}`]
      : []),
    ...hooks.map((hook) => `--customize-hook=${hook}`),
    suite,
    target,
    mirror,
  ];
  await mustRun("mmdebstrap", flags, { timeoutMs: BOOTSTRAP_TIMEOUT_MS });
  await rm(acquire);
}

/** The files of one package of any architecture, none of which is run, below `target`. */
export async function extractPackage(
  dir: string,
  target: string,
  { name, architecture }: { readonly name: string; readonly architecture: string },
): Promise<void> {
  const acquire = join(dir, "acquire.conf");
  await writeFile(acquire, await hostAcquireSettings());
  await mustRun("mmdebstrap", [
    "--quiet",
    "--variant=extract",
    `--architectures=${architecture}`,
    "--skip=check/qemu",
    `--aptopt=${acquire}`,
    '--aptopt=Acquire::Check-Valid-Until "false"',
    `--include=${name}`,
    SUITE,
    target,
    await hostMirror(),
  ]);
  await rm(acquire);
}

/** The first mirror of the suite in this machine's own apt sources, so that a test never leaves the network it is in. */
async function hostMirror(): Promise<string> {
  const texts = await Promise.all(
    (await sourceFiles()).map((path) => readFile(path, "utf8").catch(() => "")),
  );
  for (const text of texts) {
    const line = new RegExp(`^deb (?:\\[[^\\]]*\\] )?(https?://\\S+) ${SUITE} `, "m").exec(text);
    if (line?.[1] !== undefined) return line[1];
    for (const stanza of text.split(/\n\s*\n/)) {
      const field = (name: string): readonly string[] =>
        new RegExp(`^${name}:(.*)$`, "m").exec(stanza)?.[1]?.trim().split(/\s+/) ?? [];
      const uri = field("URIs").find((u) => /^https?:/.test(u));
      if (field("Suites").includes(SUITE) && uri !== undefined) return uri;
    }
  }
  return DEFAULT_MIRROR;
}

async function sourceFiles(): Promise<readonly string[]> {
  const parts = "/etc/apt/sources.list.d";
  const names = await readdir(parts).catch(() => []);
  return [
    "/etc/apt/sources.list",
    ...names.filter((name) => /\.(list|sources)$/.test(name)).map((name) => join(parts, name)),
  ];
}

/** apt's `Acquire` settings of this machine (a proxy, a clock that is off), without those about index files. */
async function hostAcquireSettings(): Promise<string> {
  const dump = await mustRun("apt-config", ["dump", "Acquire"]).catch(() => "");
  const keep = /^Acquire::(http|https|Check-|Max-ValidTime|Retries|AllowInsecure)/;
  return `${dump
    .split("\n")
    .filter((line) => keep.test(line) && line.includes('"'))
    .join("\n")}\n`;
}

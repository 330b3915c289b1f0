import { execFileSync } from "node:child_process";
import { createHash } from "node:crypto";
import { mkdirSync, mkdtempSync, readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { diffIdFromHex } from "../../src/oci/digest.js";
import { createLayerHost } from "../../src/worker/layer-host.js";
import type { LayerHost, SnapshotDriver } from "../../src/worker/layer-host-types.js";
import { openFileCalls } from "../../src/worker/linux/files.js";
import { loadLibc } from "../../src/worker/linux/libc.js";
import { openMountCalls } from "../../src/worker/linux/mount.js";
import type { RootMount } from "../../src/worker/snapshot/types.js";
import type { LayerBlob, SealedFiles } from "../../src/worker/types.js";
import type { Scenario, ScenarioResult, State } from "./snapshot-scenario.js";
import { stateOf } from "./tree-state.js";

const [top = "", threadFile = ""] = process.argv.slice(2);
const libc = loadLibc();
const calls = openFileCalls(libc);
const mountCalls = openMountCalls(libc);
const signal = new AbortController().signal;

/** @param place Where it has its files, those of other hosts in other names. */
function openHost(
  place: string,
  name: string,
  { driver, mounted = false, singleId = false }: Pick<Scenario, "driver" | "mounted" | "singleId">,
): LayerHost {
  const staging = join(place, `${name}-staging`);
  const layersDirectory = join(place, `${name}-layers`);
  const mountedLayers = join(place, `${name}-mounted`);
  for (const path of [staging, layersDirectory, mountedLayers]) {
    mkdirSync(path, { recursive: true });
  }
  return createLayerHost({
    staging,
    layersDirectory,
    idMap: "test",
    driver,
    singleId,
    threadFile,
    ...(mounted && driver === "overlay" ? { mountedLayers } : {}),
  });
}

/** What makes roots anew of layers: one host of each kind for all scenarios, since threads start slowly. */
const rebuilders = new Map<string, LayerHost>();

function rebuilder(driver: SnapshotDriver, { mounted, singleId }: Scenario): LayerHost {
  const name = `again-${driver}${mounted === true ? "-mounted" : ""}${singleId === true ? "-single" : ""}`;
  const known = rebuilders.get(name);
  if (known !== undefined) return known;
  const host = openHost(top, name, {
    driver,
    mounted: mounted ?? false,
    singleId: singleId ?? false,
  });
  rebuilders.set(name, host);
  return host;
}

async function play(place: string, scenario: Scenario): Promise<ScenarioResult> {
  const base = scenario.base.map((script, at) =>
    makeLayer(place, script, scenario.tarOptions?.[at] ?? [], scenario.premade ?? false),
  );
  const added = (scenario.add ?? []).map((script) => makeLayer(place, script, [], false));
  const sealed: SealedFiles[] = [];
  let live: State = {};
  const host = openHost(place, "first", scenario);
  const root = await host.prepare(base, signal);
  const mounts = mountsIn(join(place, "first-staging"));
  const step = async (script: string): Promise<void> => {
    live = inside(root.begin(), (path) => {
      execFileSync("sh", ["-e", "-c", `umask 022\n${script}`], {
        cwd: path,
        env: { PATH: "/usr/sbin:/usr/bin:/sbin:/bin", LC_ALL: "C" },
        stdio: ["ignore", "ignore", "ignore"],
      });
      return stateOf(calls, path);
    });
    root.end();
    const options = {
      compression: "none" as const,
      format: "oci" as const,
      ...(scenario.clampMtimeNs === undefined
        ? {}
        : { clampMtimeNs: BigInt(scenario.clampMtimeNs) }),
    };
    sealed.push(await root.seal(options, signal));
  };
  for (const script of scenario.steps) await step(script);
  for (const layer of added) await root.add(layer, signal);
  for (const script of scenario.moreSteps ?? []) await step(script);
  const indexes = (await host.takeIndexes()).map(({ diffId }) => diffId);
  const warnings = await host.takeWarnings();
  await root[Symbol.asyncDispose]();
  await host[Symbol.asyncDispose]();

  const before = sealed.slice(0, scenario.steps.length).map(blobOf);
  const all = [...base, ...before, ...added, ...sealed.slice(before.length).map(blobOf)];
  const rebuild = async (by: LayerHost): Promise<State> => {
    await using view = await by.prepare(all, signal);
    return inside(view.begin(), (path) => stateOf(calls, path));
  };
  const rebuildWhereItWas = async (): Promise<State> => {
    await using again = openHost(place, "first", { ...scenario, driver: "overlay" });
    return await rebuild(again);
  };
  const isAgain = scenario.again === true;
  return {
    layers: sealed.map(({ blobFile }) =>
      execFileSync("tar", ["--quoting-style=escape", "-tf", blobFile], { encoding: "latin1" })
        .split("\n")
        .filter((line) => line !== ""),
    ),
    uncompressedSizes: sealed.map(({ layer }) => layer.uncompressedSize),
    diffIds: sealed.map(({ layer }) => layer.diffId),
    live,
    rebuilt: {
      overlay: await (isAgain ? rebuildWhereItWas() : rebuild(rebuilder("overlay", scenario))),
      plain: await rebuild(rebuilder("plain", scenario)),
    },
    kept: withoutMarks(readdirSync(join(place, "first-layers"))),
    keptMounted: withoutMarks(readdirSync(join(place, "first-mounted"))),
    mounts,
    indexes,
    warnings,
    leftovers: readdirSync(join(place, "first-staging")).filter(
      (name) => !name.endsWith(".blob") && !name.endsWith(".index"),
    ),
  };
}

function withoutMarks(names: readonly string[]): readonly string[] {
  return names.filter((name) => !name.endsWith(".used"));
}

function mountsIn(directory: string): number {
  const lines = readFileSync("/proc/self/mountinfo", "utf8").split("\n");
  return lines.filter((line) => line.includes(` ${directory}/`) && line.includes(" erofs ")).length;
}

function blobOf({ layer, blobFile }: SealedFiles): LayerBlob {
  return { diffId: layer.diffId, path: blobFile, compression: "none" };
}

function makeLayer(
  place: string,
  script: string,
  tarOptions: readonly string[],
  premade: boolean,
): LayerBlob {
  const directory = mkdtempSync(join(place, "content-"));
  const path = `${directory}.tar`;
  execFileSync("sh", ["-e", "-c", `umask 022\n${script}`], { cwd: directory });
  if (premade) return layerAt(join(directory, "layer.tar"));
  const names = tarOptions.length > 0 ? tarOptions : ["."];
  execFileSync(
    "tar",
    // Attributes of files are enough here, and `*` would take what the host adds.
    [
      "--format=posix",
      "--sort=name",
      "--numeric-owner",
      "--xattrs",
      "--xattrs-include=user.*",
    ].concat("--xattrs-include=security.capability", "--sparse", "-cf", path, ...names),
    { cwd: directory },
  );
  return layerAt(path);
}

function layerAt(path: string): LayerBlob {
  const hex = createHash("sha256").update(readFileSync(path)).digest("hex");
  return { diffId: diffIdFromHex(hex), path, compression: "none" };
}

function inside<T>(mount: RootMount, use: (path: string) => T): T {
  if (mount.kind === "directory") return use(mount.path);
  const { lower, upper, work, target } = mount;
  const options = `userxattr,lowerdir=${lower.join(":")},upperdir=${upper},workdir=${work}`;
  mountCalls.mount("overlay", target, "overlay", 0, options);
  try {
    return use(target);
  } finally {
    mountCalls.unmount(target);
  }
}

const list = readFileSync(0, "utf8");
const results: (ScenarioResult | { readonly error: string })[] = [];
for (const [at, scenario] of (JSON.parse(list) as Scenario[]).entries()) {
  const directory = join(top, String(at));
  mkdirSync(directory);
  results.push(
    await play(directory, scenario).catch((error: unknown) => ({
      error: error instanceof Error ? (error.stack ?? error.message) : String(error),
    })),
  );
}
for (const host of rebuilders.values()) await host[Symbol.asyncDispose]();
process.stdout.write(JSON.stringify(results));

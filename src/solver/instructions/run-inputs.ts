import type { ResolvedMount } from "../../dockerfile/types.js";
import { cleanRelative } from "../copy/paths.js";
import type { StepRights } from "../entitlements.js";
import type { ContentInput, Ingredient, InputSources, StepInputs } from "../cache/types.js";
import type { StageState, Tools } from "../types.js";
import { contextFiles, sourceFiles, timeFacts, type Selection } from "./copy-inputs.js";

export interface RunParts {
  readonly argv: readonly string[];
  /** Scripts that are laid before the step. */
  readonly scripts: readonly string[];
  readonly rights: StepRights;
  readonly mounts: readonly ResolvedMount[];
}

/**
 * What decides a RUN: the command, what it sees of ENV and ARG, who runs it and where, and what is mounted. Contents of
 * secrets and caches decide nothing, as in BuildKit.
 */
export async function runInputs(
  { argv, scripts, rights, mounts }: RunParts,
  state: StageState,
  tools: Tools,
  sources: InputSources,
): Promise<StepInputs> {
  const { config } = state.image;
  const { step } = tools.options;
  const contents: ContentInput[] = [];
  for (const mount of mounts) contents.push(...(await mountedFiles(mount, tools, sources)));
  const facts: Ingredient[] = [
    { name: "instruction", value: "RUN" },
    ...argv.map((value) => ({ name: "command", value })),
    ...scripts.map((value) => ({ name: "script", value })),
    ...variables(state),
    { name: "USER", value: config.user },
    { name: "working directory", value: config.workingDir },
    { name: "network", value: rights.network },
    ...(rights.insecure ? [{ name: "--security", value: "insecure" }] : []),
    ...rights.devices.mounts.map(({ target }) => ({ name: "--device", value: target })),
    ...rights.devices.env.map(([name, value]) => ({ name: `device's ${name}`, value })),
    ...mounts.map(mountFact),
    ...step.extraHosts.map(({ name, address }) => ({
      name: "--add-host",
      value: `${name}:${address}`,
    })),
    ...step.limits.map((limit) => ({ name: "--ulimit", value: JSON.stringify(limit) })),
    ...optional(
      "--hostname",
      step.hostname ?? tools.options.buildArgs.get("BUILDKIT_SANDBOX_HOSTNAME"),
    ),
    ...optional("--shm-size", step.shmBytes?.toString()),
    ...timeFacts(tools.options),
  ];
  return { facts, contents };
}

/** By name: the order in which variables came decides nothing that a program should look at. */
function variables({ env, args }: StageState): readonly Ingredient[] {
  const declared = new Set(args.map(({ name }) => name));
  return [...env]
    .toSorted(([a], [b]) => (a < b ? -1 : 1))
    .map(([name, value]) => ({
      name: `${declared.has(name) ? "build-arg" : "ENV"} ${name}`,
      value,
    }));
}

function optional(name: string, value: string | undefined): readonly Ingredient[] {
  return value === undefined ? [] : [{ name, value }];
}

/** What is mounted counts by its definition and content, not by the name that a stage has. */
function mountFact(mount: ResolvedMount): Ingredient {
  const { type, spec: _, ...rest } = mount;
  const from = "from" in mount && mount.from !== undefined;
  return { name: `mount ${type}`, value: JSON.stringify({ ...rest, from }) };
}

async function mountedFiles(
  mount: ResolvedMount,
  tools: Tools,
  sources: InputSources,
): Promise<readonly ContentInput[]> {
  if (mount.type === "cache" && mount.from !== undefined) {
    const selection = selectionOf(mount.source ?? "");
    return [await sourceFiles(selection, mount.from, sources)];
  }
  if (mount.type !== "bind") return [];
  const selection = selectionOf(mount.source ?? "");
  if (mount.from !== undefined) return [await sourceFiles(selection, mount.from, sources)];
  return [contextFiles(selection, await tools.context())];
}

function selectionOf(source: string): Selection {
  const path = cleanRelative(source);
  return { paths: [{ kind: "path", path, local: path }], exclude: [], parents: false };
}

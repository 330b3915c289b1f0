import { createHash } from "node:crypto";
import { posix } from "node:path";
import { DockerfileError, expandMount } from "../dockerfile/index.js";
import type { ResolvedMount, Run } from "../dockerfile/types.js";
import { TsbuildError, unreachable } from "../errors.js";
import { compareBytes } from "../internal/compare-bytes.js";
import { cleanPath } from "../internal/path-patterns.js";
import type { StepSpec } from "../worker/types.js";
import { cleanRelative } from "./copy/paths.js";
import type { StageState, Tools } from "./types.js";
import { type Expanding, scopeOf, warnUnset } from "./words.js";

/** What a step's `--mount` flags become. */
export interface StepMounts {
  readonly mounts: StepSpec["mounts"];
  /** Secrets that are given as variables, and where the agent's socket is. */
  readonly env: ReadonlyMap<string, string>;
}
type Mount = StepSpec["mounts"][number];
type Of<T extends ResolvedMount["type"]> = Extract<ResolvedMount, { type: T }>;

const CACHE_MODE = 0o755;
const SECRET_MODE = 0o400;
const AGENT_MODE = 0o600;

/** The mounts with the stage's variables put in. @throws DockerfileError for one that makes no sense */
export function expandMounts(
  instruction: Run,
  state: StageState,
  tools: Expanding,
): readonly ResolvedMount[] {
  const scope = scopeOf(state, tools);
  return instruction.mounts.map((flag) => {
    const unset = new Set<string>();
    const get = (name: string): string | undefined => {
      const value = scope.get(name);
      if (value === undefined) unset.add(name);
      return value;
    };
    const mount = expandMount(flag, { ...scope, get });
    warnUnset([...unset], state, tools);
    const placed = mount.type !== "secret" && mount.type !== "ssh";
    if ((placed || (mount.target ?? "") !== "") && targetOf(mount.target ?? "", state) === "/") {
      const message = 'invalid mount target "/"';
      const hint = "name a path below the root with target=";
      const { span } = flag;
      throw new DockerfileError([{ severity: "error", code: "mount", message, hint, span }]);
    }
    return mount;
  });
}

/** @throws TsbuildError CONTEXT_UNREADABLE for a secret that is required and missing */
export async function openMounts(
  expanded: readonly ResolvedMount[],
  state: StageState,
  tools: Tools,
): Promise<StepMounts> {
  const mounts: Mount[] = [];
  const env = new Map<string, string>();
  let agents = 0;
  for (const mount of expanded) {
    switch (mount.type) {
      case "bind":
        mounts.push(await bind(mount, state, tools));
        break;
      case "cache":
        mounts.push(await cache(mount, state, tools));
        break;
      case "tmpfs":
        mounts.push(tmpfs(mount, state));
        break;
      case "secret":
        mounts.push(...(await secret(mount, state, tools, env)));
        break;
      case "ssh":
        mounts.push(...(await agent(mount, agents++, state, tools, env)));
        break;
      default:
        unreachable(mount);
    }
  }
  return { mounts, env };
}

/** In the order in which they have to be made: what lies within another mount's target comes after it, as in BuildKit. */
export function parentsFirst(mounts: readonly Mount[]): readonly Mount[] {
  return mounts.toSorted((a, b) => compareBytes(a.target, b.target));
}

/** Relative to the working directory. */
function targetOf(target: string, state: StageState): string {
  return posix.resolve("/", state.image.config.workingDir, target);
}

async function bind(mount: Of<"bind">, state: StageState, tools: Tools): Promise<Mount> {
  const source = cleanRelative(mount.source ?? "");
  const image =
    mount.from === undefined
      ? await tools.contextImage(source)
      : await tools.source(mount.from).image();
  return {
    kind: "image",
    layers: await tools.blobs(image),
    source,
    target: targetOf(mount.target ?? "", state),
    readonly: mount.readonly,
  };
}

async function cache(mount: Of<"cache">, state: StageState, tools: Tools): Promise<Mount> {
  const target = targetOf(mount.target ?? "", state);
  const { uid = 0, gid = 0, mode = CACHE_MODE, from, sharing } = mount;
  const source = cleanRelative(mount.source ?? "");
  const namespace = tools.options.buildArgs.get("BUILDKIT_CACHE_MOUNT_NS") ?? "";
  // As it is written, not where it ends up: steps with other working directories share `target=cache`.
  const id = mount.id || cleanPath(mount.target ?? "");
  const named = [namespace, id, uid, gid, mode, from ?? ""];
  const key = createHash("sha256").update(JSON.stringify(named)).digest("hex");
  const base = {
    kind: "cache",
    key,
    target,
    readonly: mount.readonly,
    uid,
    gid,
    mode,
    sharing,
  } as const;
  if (from === undefined) {
    const layers = await tools.cacheMounts?.seed(key, (image) => tools.blobs(image));
    return { ...base, source, ...(layers === undefined ? {} : { seed: { layers, source: "" } }) };
  }
  const image = await tools.source(from).image();
  // With `from`, `source` says what of the image the cache begins with.
  return { ...base, source: "", seed: { layers: await tools.blobs(image), source } };
}

function tmpfs(mount: Of<"tmpfs">, state: StageState): Mount {
  const target = targetOf(mount.target ?? "", state);
  return {
    kind: "tmpfs",
    target,
    ...(mount.size === undefined ? {} : { sizeBytes: mount.size }),
  };
}

async function secret(
  mount: Of<"secret">,
  state: StageState,
  tools: Tools,
  env: Map<string, string>,
): Promise<readonly Mount[]> {
  const id = mount.id || posix.basename(mount.target ?? "");
  const content = await tools.secret(id);
  if (content === undefined) {
    if (!mount.required) return [];
    throw new TsbuildError("CONTEXT_UNREADABLE", `secret ${id}: not found`, {
      hint: `give it with --secret id=${id},src=FILE`,
    });
  }
  if (mount.env !== undefined) env.set(mount.env, new TextDecoder().decode(content));
  if (mount.env !== undefined && !mount.target) return [];
  const target = targetOf(mount.target || `/run/secrets/${posix.basename(id)}`, state);
  const { uid = 0, gid = 0, mode = SECRET_MODE } = mount;
  return [{ kind: "file", target, content, mode, uid, gid }];
}

async function agent(
  mount: Of<"ssh">,
  number: number,
  state: StageState,
  tools: Tools,
  env: Map<string, string>,
): Promise<readonly Mount[]> {
  const id = mount.id || "default";
  const path = await tools.agent(id);
  const target = targetOf(mount.target || `/run/buildkit/ssh_agent.${number}`, state);
  // The first agent's, unless the stage has a word of its own for it.
  if (number === 0 && !state.env.has("SSH_AUTH_SOCK")) env.set("SSH_AUTH_SOCK", target);
  if (path === undefined) {
    if (!mount.required) return [];
    throw new TsbuildError("CONTEXT_UNREADABLE", `unset ssh forward key ${id}`, {
      hint: `give it with --ssh ${id}=SOCKET or --ssh ${id}=KEYFILE`,
    });
  }
  const { uid = 0, gid = 0, mode = AGENT_MODE } = mount;
  return [{ kind: "socket", path, target, uid, gid, mode }];
}

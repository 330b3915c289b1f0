import { spawn, type ChildProcess } from "node:child_process";
import { once } from "node:events";
import { readFileSync, writeFileSync } from "node:fs";
import { userInfo } from "node:os";
import { Socket } from "node:net";
import { dirname } from "node:path";
import { messageOf, TsbuildError } from "../errors.js";
import { entryCommand } from "../internal/entry.js";
import {
  formatRanges,
  identityOf,
  shiftedBelow,
  mapWithSubordinate,
  nameOf,
  parseSubordinate,
  type IdMap,
  type IdRange,
} from "./idmap.js";

/** Where the tools of util-linux and shadow are, whatever the caller's environment says: beside Node in the executor image. */
export const TOOLS_PATH: string = `${dirname(process.execPath)}:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin`;
/**
 * For glibc: memory that one thread has given back is there for the others, instead of lying in an arena of its own for
 * each of a dozen threads. Of steps nobody sees it: what they get is made from nothing.
 */
const MEMORY = { MALLOC_ARENA_MAX: "2" };
/** What a child that could not start may say of it. */
const MAX_COMPLAINT = 4096; // bytes
/** Making namespaces takes milliseconds; a machine that swaps takes seconds. */
const START_TIMEOUT_MS = 20_000;

/** One way to get the namespaces that the worker's process lives in. */
export type NamespacePlan =
  /** Root that may mount: no user namespace. */
  | { readonly kind: "host"; readonly idMap: string }
  /** The namespaces that we are in, for a driver that needs none of its own. */
  | { readonly kind: "none"; readonly idMap: string; readonly driver: "in-place" | "proot" }
  | {
      readonly kind: "user";
      readonly idMap: string;
      readonly map: IdMap;
      /** Who writes the map: we, or newuidmap and newgidmap, which may give away subordinate ids. */
      readonly writer: "direct" | "helpers";
      readonly singleId: boolean;
      /** Root in there is another id out here than ours, which the worker has to take. */
      readonly shifted?: true;
    };

export interface SpawnOptions {
  /** The worker has no pid namespace of its own: see {@link hidesProc}. */
  readonly sharesPids: boolean;
  /** Where the worker starts; the only directory that it can have without a right to those above. Absent: "/". */
  readonly cwd?: string;
}

export interface Identity {
  readonly uid: number;
  readonly gid: number;
  readonly name: string | undefined;
}

export function currentIdentity(): Identity {
  const [uid, gid] = [process.geteuid?.() ?? 0, process.getegid?.() ?? 0];
  try {
    return { uid, gid, name: userInfo().username };
  } catch {
    // A uid without a line in passwd, as a Pod's often is.
    return { uid, gid, name: undefined };
  }
}

/**
 * Every plan that makes sense for this user, best first. What stands in its way shows when it is tried. The last ones
 * keep no owners. On a machine it is the namespace that comes first: it protects the user from the steps. In a
 * container, which does that, it is proot, below which package managers work that give up their rights.
 */
export function plansFor(identity: Identity, isContained: boolean): readonly NamespacePlan[] {
  const { uid, gid } = identity;
  const single: IdMap = {
    uids: [{ inside: 0, outside: uid, count: 1 }],
    gids: [{ inside: 0, outside: gid, count: 1 }],
  };
  const alone: NamespacePlan = {
    kind: "user",
    idMap: `single-${uid}`,
    map: single,
    writer: "direct",
    singleId: true,
  };
  const proot: NamespacePlan = { kind: "none", idMap: `proot-${uid}`, driver: "proot" };
  const last = isContained ? [proot, alone] : [alone, proot];
  if (uid === 0) {
    const map = {
      uids: identityOf(readFileSync("/proc/self/uid_map", "utf8")),
      gids: identityOf(readFileSync("/proc/self/gid_map", "utf8")),
    };
    const full: NamespacePlan = {
      kind: "user",
      idMap: nameOf(map),
      map,
      writer: "direct",
      singleId: false,
    };
    const inPlace: NamespacePlan = { kind: "none", idMap: "in-place", driver: "in-place" };
    return [{ kind: "host", idMap: "host" }, full, ...shiftedPlans(map), inPlace, ...last];
  }
  const map = subordinateMap(identity);
  if (map === undefined) return last;
  const helped: NamespacePlan = {
    kind: "user",
    idMap: nameOf(map),
    map,
    writer: "helpers",
    singleId: false,
  };
  return [helped, ...last];
}

/** For root without CAP_SETFCAP, who may give away every id but its own (Linux 5.12; user_namespaces(7)). */
function shiftedPlans(own: IdMap): readonly NamespacePlan[] {
  const [uids, gids] = [shiftedBelow(own.uids), shiftedBelow(own.gids)];
  if (uids === undefined || gids === undefined) return [];
  const map = { uids: [uids], gids: [gids] };
  const plan = {
    kind: "user",
    idMap: nameOf(map),
    map,
    writer: "direct",
    singleId: false,
  } as const;
  return [{ ...plan, shifted: true }];
}

/** Who the root of a plan's namespace is out here. */
export function ownerOf(plan: NamespacePlan): { readonly uid: number; readonly gid: number } {
  if (plan.kind !== "user") return { uid: process.geteuid?.() ?? 0, gid: process.getegid?.() ?? 0 };
  const rootOf = (ranges: readonly IdRange[]): number =>
    ranges.find(({ inside }) => inside === 0)?.outside ?? 0;
  return { uid: rootOf(plan.map.uids), gid: rootOf(plan.map.gids) };
}

/** Empty for good, and meant to be mounted on: what is there hides nothing. */
const MOUNT_POINTS_OF_PROC = ["/proc/sys/fs/binfmt_misc", "/proc/fs/nfsd", "/proc/xen"];

/**
 * Whether mounts hide parts of /proc, as container runtimes do it: then the kernel lets no user namespace mount one of
 * its own, and a step with a pid namespace would find other processes than its own under its numbers.
 * @param mountinfo of /proc/self/mountinfo (proc_pid_mountinfo(5))
 */
export function hidesProc(mountinfo: string): boolean {
  return mountinfo.split("\n").some((line) => {
    const path = line.split(" ")[4] ?? "";
    return path.startsWith("/proc/") && !MOUNT_POINTS_OF_PROC.includes(path);
  });
}

function subordinateMap({ uid, gid, name }: Identity): IdMap | undefined {
  const uids = parseSubordinate(readIfThere("/etc/subuid"), name, uid);
  const gids = parseSubordinate(readIfThere("/etc/subgid"), name, uid);
  if (uids.length === 0 || gids.length === 0) return undefined;
  return { uids: mapWithSubordinate(uid, uids), gids: mapWithSubordinate(gid, gids) };
}

function readIfThere(path: string): string {
  try {
    return readFileSync(path, "utf8");
  } catch {
    return "";
  }
}

/** The worker's process, and what it said on its standard error so far. */
export interface SpawnedChild {
  readonly process: ChildProcess;
  readonly complaint: () => string;
}

/**
 * Starts `child.cjs` in the namespaces of the plan: where it may, as the first process of a pid namespace of its own, so
 * that whatever kills it takes every step along. @throws TsbuildError HOST_UNSUPPORTED, ABORTED
 */
export async function spawnChild(
  plan: NamespacePlan,
  options: SpawnOptions,
  signal: AbortSignal,
): Promise<SpawnedChild> {
  if (signal.aborted) throw new TsbuildError("ABORTED", "tried to start the worker: stopped");
  const isUser = plan.kind === "user";
  const [program, ...args] = commandFor(plan, options);
  const child = spawn(program, args, {
    // A session of its own: Ctrl-C is for the front process to act on.
    detached: true,
    cwd: options.cwd ?? "/",
    env: { PATH: TOOLS_PATH, ...MEMORY },
    stdio: ["ignore", "ignore", "pipe", "ipc", ...(isUser ? (["pipe"] as const) : [])],
    serialization: "advanced",
  });
  const complaint = collect(child);
  try {
    // Also tells of a missing program.
    await once(child, "spawn", { signal });
    if (isUser) await writeMaps(child, plan, complaint, signal);
  } catch (error) {
    child.kill("SIGKILL");
    if (signal.aborted) throw new TsbuildError("ABORTED", "tried to start the worker: stopped");
    if (error instanceof TsbuildError) throw error;
    throw new TsbuildError("HOST_UNSUPPORTED", `tried to run ${program}: ${messageOf(error)}`, {
      cause: error,
      hint: "install util-linux",
    });
  }
  return { process: child, complaint };
}

function commandFor(
  plan: NamespacePlan,
  { sharesPids }: SpawnOptions,
): readonly [string, ...string[]] {
  const worker = [process.execPath, ...entryCommand("child.cjs")] as const;
  if (plan.kind === "none") return worker;
  const entered = [...(sharesPids ? [] : ["--pid", "--fork", "--kill-child"]), "--", ...worker];
  if (plan.kind === "host") return ["unshare", "--mount", ...entered];
  const handshake = ["--", "sh", "-c", HANDSHAKE, "sh", "unshare"];
  if (plan.shifted !== true) {
    return ["unshare", "--user", "--mount", ...keepCapabilities(), ...handshake, ...entered];
  }
  // The shell is nobody in there, so it gets no capabilities by being executed.
  const asRoot = ["--setgid", "0", "--setuid", "0", ...entered];
  return ["unshare", "--user", "--mount", "--keep-caps", ...handshake, ...asRoot];
}

/**
 * The map must be there before the exec that follows, for only an exec as a mapped root gives the capabilities that
 * the namespace's first process lost by becoming the shell.
 */
const HANDSHAKE = 'echo ready >&4; read -r go <&4 || exit 1; exec "$@" 4>&-';

/** Under no_new_privs no exec gives capabilities back, so none may be lost in between. */
function keepCapabilities(): readonly string[] {
  return /^NoNewPrivs:\s*1$/m.test(readFileSync("/proc/self/status", "utf8"))
    ? ["--keep-caps"]
    : [];
}

function collect(child: ChildProcess): () => string {
  let text = "";
  child.stderr?.on("data", (chunk: Buffer) => {
    text = (text + chunk.toString()).slice(-MAX_COMPLAINT);
  });
  return () => text.trim();
}

async function writeMaps(
  child: ChildProcess,
  plan: Extract<NamespacePlan, { kind: "user" }>,
  complaint: () => string,
  signal: AbortSignal,
): Promise<void> {
  // A "pipe" of Node's is a pair of sockets: both ways.
  const channel = child.stdio[4];
  if (!(channel instanceof Socket) || child.pid === undefined) {
    throw new TsbuildError("INTERNAL", "tried to start the worker: it has no pipes");
  }
  channel.on("error", () => undefined);
  const timeout = AbortSignal.any([signal, AbortSignal.timeout(START_TIMEOUT_MS)]);
  const first = await Promise.race([
    once(channel, "data", { signal: timeout }).then(() => "ready" as const),
    once(child, "exit", { signal: timeout }).then(() => "exit" as const),
  ]);
  if (first === "exit") throw refusal(`tried to make a user namespace: ${complaint()}`);
  if (plan.writer === "helpers") {
    await runHelper("newuidmap", child.pid, plan.map.uids, signal);
    await runHelper("newgidmap", child.pid, plan.map.gids, signal);
  } else writeDirectly(child.pid, plan);
  channel.end("go\n");
}

function writeDirectly(pid: number, { map, singleId }: Extract<NamespacePlan, { kind: "user" }>) {
  try {
    // Without CAP_SETGID outside, a group map needs setgroups to be given up first.
    if (singleId) writeFileSync(`/proc/${pid}/setgroups`, "deny");
    writeFileSync(`/proc/${pid}/uid_map`, formatRanges(map.uids));
    writeFileSync(`/proc/${pid}/gid_map`, formatRanges(map.gids));
  } catch (error) {
    throw refusal(`tried to write the id map of a user namespace: ${messageOf(error)}`, error);
  }
}

async function runHelper(
  name: string,
  pid: number,
  ranges: readonly IdRange[],
  signal: AbortSignal,
): Promise<void> {
  const numbers = ranges.flatMap(({ inside, outside, count }) => [inside, outside, count]);
  const helper = spawn(name, [pid, ...numbers].map(String), {
    env: { PATH: TOOLS_PATH },
    stdio: ["ignore", "ignore", "pipe"],
    signal,
  });
  let said = "";
  helper.stderr.on("data", (chunk: Buffer) => {
    said = (said + chunk.toString()).slice(-MAX_COMPLAINT);
  });
  let code: unknown;
  try {
    [code] = (await once(helper, "close")) as unknown[];
  } catch (error) {
    if (signal.aborted) throw error;
    throw refusal(`tried to run ${name}: ${messageOf(error)}`, error);
  }
  if (code !== 0) throw refusal(`tried to run ${name}: ${said.trim()}`);
}

function refusal(message: string, cause?: unknown): TsbuildError {
  return new TsbuildError("HOST_UNSUPPORTED", message, cause === undefined ? {} : { cause });
}

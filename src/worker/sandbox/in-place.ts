import { readFileSync } from "node:fs";
import { hostname } from "node:os";
import { dirname } from "node:path/posix";
import { messageOf, TsbuildError } from "../../errors.js";
import { hideProcess } from "../linux/dumpable.js";
import { loadLibc } from "../linux/libc.js";
import { keepRules, mountPoints, openKeep } from "../snapshot/in-place-keep.js";
import { markerOf } from "../snapshot/in-place-marker.js";
import type { InPlaceOptions } from "../types.js";
import { sealHome } from "./in-place-home.js";
import { placeMounts, type PlaceTools } from "./in-place-mounts.js";
import { USUAL_HOSTNAME } from "./init-protocol.js";
import { createNamespaceSandbox, type NamespaceOptions } from "./namespace.js";
import type { ExitStatus, Sandbox, SandboxSpec } from "./types.js";

export interface InPlaceSandboxOptions extends Pick<NamespaceOptions, "scratch" | "env" | "calls"> {
  readonly inPlace: InPlaceOptions | undefined;
  /** Says once what a step asks for and cannot have. */
  readonly notice?: (message: string) => void;
}

/**
 * Runs each step with "/" as its root: with the step's environment, user and limits, and the mounts as files and
 * directories in "/" for the step's time. Whatever a step started ends with it. Steps can see, signal and be seen by
 * every process of the container; this one, and its waiting steps, cannot be looked into.
 * @throws TsbuildError INTERNAL
 */
export function createInPlaceSandbox(options: InPlaceSandboxOptions): Sandbox {
  const { inPlace, scratch, calls, notice } = options;
  if (inPlace === undefined) throw new TsbuildError("INTERNAL", "in place, but not told how");
  hideProcess(loadLibc());
  calls.process.adoptOrphans();
  const staging = dirname(scratch);
  const mounted = new Set(mountPoints(readFileSync("/proc/self/mountinfo")));
  const { home, ignored } = inPlace;
  const others = new Set([...mounted, ...ignored, markerOf(home)]);
  const seal = sealHome(home, (path) => !others.has(path));
  const tools: PlaceTools = {
    calls: calls.files,
    staging,
    keep: openKeep(keepRules(inPlace)),
    home,
    mountPoints: mounted,
  };
  const said = new Set<string>();
  const sayOnce = (message: string): void => {
    if (!said.has(message)) notice?.(message);
    said.add(message);
  };
  const inner = createNamespaceSandbox({
    scratch,
    overlayOptions: "",
    singleId: false,
    sharesPids: true,
    here: true,
    env: options.env,
    calls,
  });
  return {
    name: "in-place",
    run: async (spec, root, on, signal): Promise<ExitStatus> => {
      refuseHosts(spec);
      for (const message of lacking(spec)) sayOnce(message);
      const placed = placeMounts(spec.mounts, tools);
      // Also when the front process was killed: nobody waits for the step then, and a secret must not stay.
      const undo = (): void => void placed.undo();
      process.once("exit", undo);
      try {
        const output = { output: on.output.bind(on) };
        return await inner.run({ ...spec, mounts: [] }, root, output, signal);
      } finally {
        process.off("exit", undo);
        on.restored?.(placed.undo());
        seal.verify();
      }
    },
    [Symbol.asyncDispose]: () => inner[Symbol.asyncDispose](),
  };
}

/** What a step cannot have here and can mostly do without. */
function lacking(spec: SandboxSpec): readonly string[] {
  const lacks: string[] = [];
  if (spec.hostname !== USUAL_HOSTNAME && spec.hostname !== hostname()) {
    lacks.push(`in place, steps call their machine ${hostname()}: --hostname makes no difference`);
  }
  if (spec.shmBytes !== undefined) {
    lacks.push("in place, steps have the container's /dev/shm: --shm-size makes no difference");
  }
  if (spec.mounts.some((mount) => mount.kind === "tmpfs" && mount.sizeBytes !== undefined)) {
    lacks.push("in place, a tmpfs is a directory on the container's disk: its size has no limit");
  }
  return lacks;
}

/** A step would look for a machine in vain that it was promised: /etc/hosts is the container's, often the Pod's. */
function refuseHosts({ hosts }: SandboxSpec): void {
  const own = namesIn(readHosts());
  const missing = [...namesIn(hosts)].find(([name, address]) => {
    const isLocal = address === "::1" || address.startsWith("127.");
    return !isLocal && own.get(name) !== address;
  });
  if (missing === undefined) return;
  throw new TsbuildError(
    "HOST_UNSUPPORTED",
    `tried to run a step in place: /etc/hosts is the container's and has no ${missing.join(" at ")}`,
    { hint: "give the Pod hostAliases, or the container --add-host, instead of this build" },
  );
}

function readHosts(): string {
  try {
    return readFileSync("/etc/hosts", "utf8");
  } catch (error) {
    // Without one there are no names in it.
    return `# ${messageOf(error)}\n`;
  }
}

function namesIn(hosts: string): ReadonlyMap<string, string> {
  const names = new Map<string, string>();
  for (const line of hosts.split("\n")) {
    const [address = "", ...rest] = line.replace(/#.*/, "").trim().split(/\s+/);
    for (const name of rest) if (!names.has(name)) names.set(name, address);
  }
  return names;
}

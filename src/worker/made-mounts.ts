import { unreachable } from "../errors.js";
import type { LayerHost } from "./layer-host-types.js";
import { leaseCaches, type CacheLease, type CacheTools } from "./made-mounts-cache.js";
import { openSocketMount } from "./made-mounts-socket.js";
import type { InnerMount, SandboxSpec, StepMount } from "./sandbox/types.js";
import type { MadeMount, StepSpec } from "./types.js";

/** What making the sources of mounts takes. */
export interface MadeMountTools extends CacheTools {
  readonly host: LayerHost;
}

/** A step whose mounts have their sources. Disposing closes and deletes those that do not last. */
export interface PreparedStep extends AsyncDisposable {
  readonly spec: SandboxSpec;
}

/**
 * Makes the sources of a step's mounts, and waits for the caches that it has for itself.
 * @throws TsbuildError what {@link LayerHost.prepare} throws; STORE_FAILED, CONTEXT_UNREADABLE, USAGE, ABORTED
 */
export async function prepareStep(
  spec: StepSpec,
  tools: MadeMountTools,
  signal: AbortSignal,
): Promise<PreparedStep> {
  const held: AsyncDisposable[] = [];
  const dispose = async (): Promise<void> => {
    // Each of them, whatever becomes of the others.
    const ends = held.splice(0).toReversed();
    const settled = await Promise.allSettled(ends.map((each) => each[Symbol.asyncDispose]()));
    for (const each of settled) if (each.status === "rejected") throw each.reason;
  };
  try {
    const isCache = (mount: StepSpec["mounts"][number]) => mount.kind === "cache";
    const leases = await leaseCaches(spec.mounts.filter(isCache), tools, signal);
    held.push(leases);
    const mounts: (StepMount | InnerMount)[] = [];
    for (const mount of spec.mounts) {
      mounts.push(await makeMount(mount, { tools, leases, held }, signal));
    }
    return { spec: { ...spec, mounts }, [Symbol.asyncDispose]: dispose };
  } catch (error) {
    await dispose();
    throw error;
  }
}

interface Making {
  readonly tools: MadeMountTools;
  readonly leases: CacheLease;
  /** What is to be disposed of after the step. */
  readonly held: AsyncDisposable[];
}

async function makeMount(
  mount: StepMount | MadeMount,
  { tools, leases, held }: Making,
  signal: AbortSignal,
): Promise<StepMount | InnerMount> {
  switch (mount.kind) {
    case "image": {
      const { source, target, readonly } = mount;
      // A root of its own for each mount: none sees what another one writes.
      const root = await tools.host.prepareSource(mount.layers, signal);
      held.push(root);
      return { kind: "root", root: root.begin(), source, target, readonly };
    }
    case "cache": {
      const { source, target, readonly, uid, gid } = mount;
      const directory = leases.pathOf(mount.key);
      return { kind: "inside", directory, source, target, readonly, owner: { uid, gid } };
    }
    case "socket": {
      const socket = await openSocketMount(mount, tools);
      held.push(socket);
      return { kind: "bind", source: socket.path, target: mount.target, readonly: false };
    }
    case "bind":
    case "tmpfs":
    case "file":
      return mount;
    default:
      return unreachable(mount);
  }
}

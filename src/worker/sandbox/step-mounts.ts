import { mkdirSync, statSync, writeFileSync, chownSync, chmodSync } from "node:fs";
import { messageOf, TsbuildError, unreachable } from "../../errors.js";
import { MS, type MountCalls } from "../linux/mount.js";
import { mountDev, mountProc, mountSys } from "./devices.js";
import type { Order } from "./init-protocol.js";
import { openInside, type OpenedPath } from "./inside.js";
import type { PointType } from "./mount-points.js";
import { mountSourceRoot } from "./source-root.js";
import type { InnerMount, StepMount } from "./types.js";

/** One mount that a step needs, before it is known where in the root its target lies. */
export interface PlannedMount {
  /** Absolute, inside the root; may lead through symlinks. */
  readonly target: string;
  readonly type: PointType;
  /** Mounts at `at`, an existing path of that type outside the root. `isNew`: nothing stood there in the image. */
  mount(at: string, isNew: boolean): void;
  /** The mounted directory as one that can be written to, even if it is mounted read-only. */
  readonly backing?: string;
}

/** Everything a step has mounted, in the order to mount it. @throws TsbuildError RUN_FAILED, CONTEXT_UNREADABLE */
export function planMounts(order: Order, calls: MountCalls): readonly PlannedMount[] {
  const spec = order.process;
  // In memory, for what has no file yet.
  const files = `${order.scratch}/files`;
  mkdirSync(files);
  const system: PlannedMount[] = [
    {
      target: "/proc",
      type: "directory",
      mount: (at) => mountProc(at, order.sharesPids ?? false, calls),
    },
    { target: "/dev", type: "directory", mount: (at) => mountDev(at, spec, calls) },
    {
      target: "/sys",
      type: "directory",
      mount: (at) => mountSys(at, spec, calls),
    },
    readonlyText("/etc/hosts", spec.hosts, `${files}/hosts`, calls),
    readonlyText("/etc/resolv.conf", spec.resolvConf, `${files}/resolv.conf`, calls),
  ];
  // Parents before children, else a parent would hide what is mounted below it.
  const asked = spec.mounts
    .map((mount, index) => ({ mount, index }))
    .toSorted((a, b) => depthOf(a.mount.target) - depthOf(b.mount.target) || a.index - b.index)
    .map(({ mount, index }) => {
      const links = `${order.scratch}/links-${index}`;
      if (mount.kind === "root" || mount.kind === "inside") {
        return planInnerMount(mount, links, order.overlayOptions, calls);
      }
      return planStepMount(mount, `${files}/${index}`, calls);
    });
  return [...system, ...asked];
}

function depthOf(path: string): number {
  return path.split("/").filter((name) => name !== "" && name !== ".").length;
}

function readonlyText(target: string, text: string, file: string, calls: MountCalls): PlannedMount {
  return {
    target,
    type: "file",
    mount: (at) => {
      writeFileSync(file, text, { mode: 0o644 });
      calls.bind(file, at);
      calls.makeReadonly(at);
    },
  };
}

function planStepMount(mount: StepMount, file: string, calls: MountCalls): PlannedMount {
  const { target } = mount;
  switch (mount.kind) {
    case "bind":
      return {
        target,
        type: typeOf(mount.source),
        mount: (at) => {
          calls.bind(mount.source, at);
          if (mount.readonly) calls.makeReadonly(at);
        },
      };
    case "tmpfs":
      return {
        target,
        type: "directory",
        mount: (at, isNew) => {
          const mode = isNew ? 0o1777 : statSync(at).mode & 0o7777;
          const size = mount.sizeBytes === undefined ? "" : `,size=${mount.sizeBytes}`;
          calls.mount("tmpfs", at, "tmpfs", MS.NOSUID, `mode=${mode.toString(8)}${size}`);
        },
      };
    case "file":
      return {
        target,
        type: "file",
        mount: (at) => {
          writeFileSync(file, mount.content, { mode: 0o600 });
          chownSync(file, mount.uid, mount.gid);
          chmodSync(file, mount.mode);
          calls.bind(file, at);
        },
      };
    default:
      return unreachable(mount);
  }
}

function planInnerMount(
  mount: InnerMount,
  links: string,
  overlayOptions: string,
  calls: MountCalls,
): PlannedMount {
  const directory =
    mount.kind === "root"
      ? mountSourceRoot(mount.root, links, overlayOptions, calls)
      : mount.directory;
  const { type, path } = openSource(directory, mount);
  return {
    target: mount.target,
    type,
    ...(type === "directory" ? { backing: path } : {}),
    mount: (at) => {
      calls.bind(path, at);
      if (mount.readonly) calls.makeReadonly(at);
    },
  };
}

/** It stays open until the command's program takes over. */
function openSource(directory: string, { source, target }: InnerMount): OpenedPath {
  const found = openInside(directory, source);
  if (found !== undefined) return found;
  const name = source.startsWith("/") ? source : `/${source}`;
  throw new TsbuildError("CONTEXT_UNREADABLE", `tried to mount ${target}: "${name}": not found`);
}

function typeOf(source: string): PointType {
  try {
    return statSync(source).isDirectory() ? "directory" : "file";
  } catch (error) {
    throw new TsbuildError("RUN_FAILED", `tried to mount ${source}: ${messageOf(error)}`, {
      cause: error,
    });
  }
}

import { mkdirSync, statSync, writeFileSync, chownSync, chmodSync } from "node:fs";
import { messageOf, TsbuildError, unreachable } from "../../errors.js";
import { MS, type MountCalls } from "../linux/mount.js";
import { mountDev, mountProc, mountSys } from "./devices.js";
import type { PointType } from "./mount-points.js";
import type { ProcessSpec, StepMount } from "./types.js";

/** One mount that a step needs, before it is known where in the root its target lies. */
export interface PlannedMount {
  /** Absolute, inside the root; may lead through symlinks. */
  readonly target: string;
  readonly type: PointType;
  /** Mounts at `at`, an existing path of that type outside the root. `isNew`: nothing stood there in the image. */
  mount(at: string, isNew: boolean): void;
}

/** Everything a step has mounted, in the order to mount it. `files` is a directory in memory for what has no file yet. */
export function planMounts(
  spec: ProcessSpec,
  files: string,
  calls: MountCalls,
): readonly PlannedMount[] {
  mkdirSync(files);
  const system: PlannedMount[] = [
    { target: "/proc", type: "directory", mount: (at) => mountProc(at, calls) },
    { target: "/dev", type: "directory", mount: (at) => mountDev(at, calls) },
    { target: "/sys", type: "directory", mount: (at) => mountSys(at, calls) },
    readonlyText("/etc/hosts", spec.hosts, `${files}/hosts`, calls),
    readonlyText("/etc/resolv.conf", spec.resolvConf, `${files}/resolv.conf`, calls),
  ];
  // Parents before children, else a parent would hide what is mounted below it.
  const asked = spec.mounts
    .map((mount, index) => ({ mount, index }))
    .toSorted((a, b) => depthOf(a.mount.target) - depthOf(b.mount.target) || a.index - b.index)
    .map(({ mount, index }) => planStepMount(mount, `${files}/${index}`, calls));
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

function typeOf(source: string): PointType {
  try {
    return statSync(source).isDirectory() ? "directory" : "file";
  } catch (error) {
    throw new TsbuildError("RUN_FAILED", `tried to mount ${source}: ${messageOf(error)}`, {
      cause: error,
    });
  }
}

import type { CannotRun } from "../emulation/emulation.js";
import type { RootMount } from "../snapshot/types.js";

/** A mount of one step, below the root and above nothing of the image: it leaves no trace in the layer. */
export type StepMount =
  | {
      readonly kind: "bind";
      /** Path on the host's side; a file or a directory. */
      readonly source: string;
      /** Absolute, inside the root; made when absent. */
      readonly target: string;
      readonly readonly: boolean;
    }
  | { readonly kind: "tmpfs"; readonly target: string; readonly sizeBytes?: number }
  | {
      /** A file that exists for the step alone, in memory. */
      readonly kind: "file";
      readonly target: string;
      readonly content: Uint8Array;
      readonly mode: number;
      readonly uid: number;
      readonly gid: number;
    };

/** A mount whose source is looked up when the step's root is made, with every symlink followed inside of a directory. */
export type InnerMount =
  | {
      readonly kind: "root";
      /** Of this mount alone: it is written to, and thrown away after the step. */
      readonly root: RootMount;
      /** Relative to the root; a file or a directory. */
      readonly source: string;
      readonly target: string;
      readonly readonly: boolean;
    }
  | {
      readonly kind: "inside";
      /** Path on the host's side. Other steps may be writing in it. */
      readonly directory: string;
      /** Relative to the directory; a file or a directory. */
      readonly source: string;
      readonly target: string;
      readonly readonly: boolean;
      /** Whose the directory is meant to be, where it cannot be given away. */
      readonly owner?: { readonly uid: number; readonly gid: number };
    };

/** What one step runs, with everything resolved: names are numbers, the environment is complete. */
export interface ProcessSpec {
  readonly argv: readonly [string, ...string[]];
  readonly env: Readonly<Record<string, string>>;
  /** Absolute, inside the root; made when absent. */
  readonly cwd: string;
  readonly uid: number;
  readonly gid: number;
  /** Supplementary groups. */
  readonly groups: readonly number[];
  readonly hostname: string;
  readonly mounts: readonly StepMount[];
  readonly network: "host" | "none";
  /** Contents of /etc/hosts and /etc/resolv.conf during the step. */
  readonly hosts: string;
  readonly resolvConf: string;
  /** Bytes of /dev/shm; absent: Docker's 64 MiB. */
  readonly shmBytes?: number;
  readonly limits?: readonly ResourceLimit[];
  /** With every capability that the worker has, and nothing of /proc and /sys hidden or read-only. */
  readonly insecure?: boolean;
}

/** A limit of setrlimit(2) by Docker's name for it; -1: none. */
export interface ResourceLimit {
  readonly name: keyof typeof RESOURCES;
  readonly soft: number;
  readonly hard: number;
}

/** Docker's names, with the kernel's numbers: the same on x64 and arm64. */
export const RESOURCES = {
  cpu: 0,
  fsize: 1,
  data: 2,
  stack: 3,
  core: 4,
  rss: 5,
  nproc: 6,
  nofile: 7,
  memlock: 8,
  locks: 10,
  sigpending: 11,
  msgqueue: 12,
  nice: 13,
  rtprio: 14,
  rttime: 15,
} as const;

/** What a {@link Sandbox} runs: a {@link ProcessSpec} with the mounts that only the worker itself can ask for. */
export interface SandboxSpec extends Omit<ProcessSpec, "mounts"> {
  readonly mounts: readonly (StepMount | InnerMount)[];
  /** Why its programs, for another architecture, cannot be run, where that is known. */
  readonly cannotRun?: CannotRun;
}

export interface ProcessOutput {
  readonly stream: "stdout" | "stderr";
  readonly chunk: Uint8Array;
}

export type ExitStatus =
  | { readonly kind: "exited"; readonly code: number }
  | { readonly kind: "signalled"; readonly signal: NodeJS.Signals };

/** Who hears of a step while it runs. */
export interface StepListener {
  /** A promise holds the process's pipe back until it is settled. */
  output(output: ProcessOutput): void | Promise<void>;
  /** Called once, after the step, for a "directory" root: see `StageRoot.end`. */
  restored?(directories: readonly string[]): void;
}

/** Mounts a root and runs a process in it. On return nothing of the step is mounted or alive. */
export interface Sandbox extends AsyncDisposable {
  readonly name: "namespace" | "in-place" | "proot";
  /** Aborting kills every process of the step. @throws TsbuildError HOST_UNSUPPORTED, RUN_FAILED (127, 126) when the command cannot be started, CONTEXT_UNREADABLE when a mount's source is missing, ABORTED. */
  run(
    spec: SandboxSpec,
    root: RootMount,
    on: StepListener,
    signal: AbortSignal,
  ): Promise<ExitStatus>;
}

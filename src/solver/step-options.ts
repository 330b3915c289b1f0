import type { ResourceLimit } from "../worker/sandbox/types.js";

/** Rights beyond a step's own that the user has granted: what `--allow` says. */
export interface Entitlements {
  readonly networkHost: boolean;
  readonly securityInsecure: boolean;
  /** `all`, or the names that were granted, each with the device that it stands for. */
  readonly devices: "all" | ReadonlyMap<string, string>;
}

export interface DeviceRequest {
  readonly name: string;
  /** Else a device that is not registered is left out. */
  readonly required: boolean;
}

/** What devices bring into a step. */
export interface StepDevices {
  readonly env: readonly (readonly [name: string, value: string])[];
  /** Nodes, files and directories of the host, bound as they are. */
  readonly mounts: readonly {
    readonly source: string;
    readonly target: string;
    readonly readonly: boolean;
  }[];
  readonly groups: readonly number[];
  /** What of the devices is not given, a line each. */
  readonly notices: readonly string[];
}

/** Looks devices up. @throws TsbuildError DOCKERFILE_INVALID for one that is required and not there, or not granted */
export type DeviceSource = (requests: readonly DeviceRequest[]) => Promise<StepDevices>;

/** What is the same for every RUN of a build. */
export interface StepOptions {
  /** For a RUN that does not say it. `default` is the host's network, too. */
  readonly network: "default" | "none" | "host";
  readonly hostname?: string;
  /** Lines of /etc/hosts beside the host's own, in this order. */
  readonly extraHosts: readonly { readonly name: string; readonly address: string }[];
  /** Bytes of /dev/shm; absent: Docker's 64 MiB. */
  readonly shmBytes?: number;
  readonly limits: readonly ResourceLimit[];
  readonly allowed: Entitlements;
  readonly devices: DeviceSource;
  /** Whether root of this machine builds: else a step can have no more than root of its user namespace. */
  readonly asRoot: boolean;
}

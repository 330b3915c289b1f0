import type { SnapshotDriver } from "../../src/worker/layer-host-types.js";

/** What a child process inside its own mount (and perhaps user) namespace is to do with a layer host. */
export interface Scenario {
  readonly driver: SnapshotDriver;
  readonly singleId?: boolean;
  /** Layers are mounted where the driver is the overlay one. */
  readonly mounted?: boolean;
  /** One layer each: a shell script that fills an empty directory, packed by tar(1). Lowest first. */
  readonly base: readonly string[];
  /** Options of tar(1) for the layer of the same number. */
  readonly tarOptions?: readonly (readonly string[])[];
  /** The scripts of `base` make `layer.tar` themselves. */
  readonly premade?: boolean;
  /** Shell scripts, with the mounted root as their working directory; each is sealed as a layer. */
  readonly steps: readonly string[];
  /** Layers made like `base` that are added on top after the steps, before `moreSteps`. */
  readonly add?: readonly string[];
  readonly moreSteps?: readonly string[];
  readonly clampMtimeNs?: string;
  /** Build from the same layers again, with another host on the same directories. */
  readonly again?: boolean;
}

/** One line per entry, by path: type, mode, owner, time, size, content, attributes, what it links to. */
export type State = Readonly<Record<string, string>>;

export interface ScenarioResult {
  /** Of each sealed layer: the names in its tar, in order. */
  readonly layers: readonly (readonly string[])[];
  readonly uncompressedSizes: readonly number[];
  readonly diffIds: readonly string[];
  /** What the steps left in the mounted root. */
  readonly live: State;
  /** The same layers on a fresh root of each kind. */
  readonly rebuilt: Readonly<Record<SnapshotDriver, State>>;
  /** Names in the directory of unpacked layers, and in that of mounted ones. */
  readonly kept: readonly string[];
  readonly keptMounted: readonly string[];
  /** Of the base, how many lower directories are mounts. */
  readonly mounts: number;
  readonly indexes: readonly string[];
  readonly warnings: readonly string[];
  /** Left in the staging directory besides sealed files. */
  readonly leftovers: readonly string[];
}

import type { DiffId, Digest } from "./digest.js";
import type { Reference } from "./reference.js";

/** https://github.com/opencontainers/image-spec/blob/main/descriptor.md */
export interface Descriptor {
  readonly mediaType: string;
  readonly digest: Digest;
  /** Bytes. */
  readonly size: number;
  readonly annotations?: Readonly<Record<string, string>>;
  /** Present in an index's entries. */
  readonly platform?: Platform;
  /** Fields that we do not know (`urls`, `data`, `artifactType`), carried over as they were. */
  readonly other?: Readonly<Record<string, unknown>>;
}

export interface Platform {
  readonly os: string;
  readonly architecture: string;
  readonly variant?: string;
  readonly osVersion?: string;
}

/** Docker's HEALTHCHECK, as Docker and BuildKit write it into the config. Durations in nanoseconds. */
export interface Healthcheck {
  readonly test: readonly string[];
  readonly interval?: number;
  readonly timeout?: number;
  readonly startPeriod?: number;
  readonly startInterval?: number;
  readonly retries?: number;
}

/** The config blob as a value: https://github.com/opencontainers/image-spec/blob/main/config.md, and Docker's own fields. */
export interface ImageConfig {
  readonly platform: Platform;
  readonly author?: string;
  /** RFC 3339. */
  readonly created?: string;
  /** `name=value`, in order. */
  readonly env: readonly string[];
  readonly cmd?: readonly string[];
  readonly entrypoint?: readonly string[];
  readonly shell?: readonly string[];
  readonly workingDir: string;
  readonly user: string;
  readonly labels: Readonly<Record<string, string>>;
  /** `port/protocol`. */
  readonly exposedPorts: readonly string[];
  readonly volumes: readonly string[];
  readonly stopSignal?: string;
  readonly healthcheck?: Healthcheck;
  readonly onBuild: readonly string[];
  readonly argsEscaped?: boolean;
  /** `os.features`: what of its system the image needs, as `win32k`. */
  readonly osFeatures?: readonly string[];
}

export interface History {
  readonly created?: string;
  readonly createdBy?: string;
  readonly author?: string;
  readonly comment?: string;
  readonly emptyLayer: boolean;
}

/** A layer of an image: where its bytes are is known by its digest (the store), its origin (a registry) or itself. */
export interface Layer {
  readonly descriptor: Descriptor;
  readonly diffId: DiffId;
  /** The repository that it was pulled from: can serve the blob, and can be mounted from. */
  readonly origin?: Reference;
  /** Where its bytes are, of a layer that came from neither: an OCI layout. Verified; fails at the end when they are others. */
  readonly open?: (signal: AbortSignal) => AsyncIterable<Uint8Array>;
  /** A build made it, perhaps an earlier one: it is no part of a base, wherever its bytes are. */
  readonly isMade?: true;
}

/** An image is a value: to change one, make another. */
export interface Image {
  readonly config: ImageConfig;
  readonly layers: readonly Layer[];
  readonly history: readonly History[];
  /** The family of media types of the base, which the result inherits. */
  readonly format: ImageFormat;
}

export type ImageFormat = "oci" | "docker";
export type Compression = "gzip" | "zstd" | "none";

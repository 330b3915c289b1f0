import type { Hashing } from "../internal/hashing.js";
import type { DiffId, Digest } from "../oci/digest.js";
import type { StatMemory } from "../oci/content-digest.js";
import type { Descriptor } from "../oci/types.js";
import type { Downloads } from "./downloads.js";

export interface PutOptions {
  /** Hears the file that is written, when it has no more than its first bytes. It gets its own name when it is whole, or is deleted. */
  readonly onFile?: (path: string) => void;
  /** The source hashes what it gives and fails at its end when that is not `expected`: it is not hashed twice. */
  readonly isVerified?: boolean;
}

/** Content-addressed bytes. Safe for several processes at once; what is half-written is never seen. */
export interface BlobStore {
  /** Idempotent: resolves when the content is stored, whoever stored it. @throws TsbuildError STORE_FAILED when the bytes are not `expected` or the disk is full. */
  put(
    bytes: AsyncIterable<Uint8Array>,
    expected: Descriptor | undefined,
    signal: AbortSignal,
    options?: PutOptions,
  ): Promise<{ readonly digest: Digest; readonly size: number }>;
  /** The blob's bytes; throws STORE_FAILED at the end if they do not hash to `digest`. */
  get(digest: Digest, signal: AbortSignal): AsyncIterable<Uint8Array>;
  /**
   * As `get`, but what came in through this object was hashed then, and is not once more: for whoever goes on to where the
   * bytes are checked (a registry against their digest, an index against the diffID).
   */
  getFresh(digest: Digest, signal: AbortSignal): AsyncIterable<Uint8Array>;
  /** `undefined` when absent. Never reads the content. */
  stat(digest: Digest): Promise<{ readonly size: number } | undefined>;
  /** Where the blob's file is, for a process that reads it by itself. */
  blobPath(digest: Digest): string;
  /** Takes a finished file of the staging directory over as a blob. The caller computed `digest` while writing it. */
  adoptBlob(file: string, digest: Digest): Promise<void>;
}

/** Small values by their key, written by one tsbuild and read by another. Safe for several processes at once. */
export interface Records {
  /** The value as it was written; `undefined` when there is none that can be read. Marks it as used. */
  find(key: string): Promise<unknown>;
  /** Replaces what was there. @throws TsbuildError STORE_FAILED */
  put(key: string, value: unknown): Promise<void>;
  /** Whether there never was one. Where that cannot be told there may be some. */
  isEmpty(): Promise<boolean>;
}

/** What is known of the files of a context. A memory that may be lost. */
export interface StatCache {
  readonly files: StatMemory;
  readonly directories: StatMemory;
  /** Writes what is new. Never fails: then files are read once more. */
  save(): Promise<void>;
}

/** The store of one build: the shared directory, and a staging directory of its own in it. */
export interface Store extends BlobStore, AsyncDisposable {
  readonly root: string;
  /** Where hashes of what goes in and out are taken: beside the work, where there is much. */
  readonly hashing: Hashing;
  /** This build's own directory, on the store's filesystem; deleted at the end. */
  readonly staging: string;
  /** A name in `staging` that was never used. */
  stagingPath(suffix: string): string;
  /** Unpacked layers for one id map: owners and capabilities on disk differ by it. Made when absent. */
  layersDirectory(idMap: string): Promise<string>;
  /** What cache mounts keep from build to build, for one id map. Made when absent. */
  cachesDirectory(idMap: string): Promise<string>;
  /** The file of a layer's index, as `layer/` wrote it; nothing ever changes it. */
  findIndex(diffId: DiffId): Promise<string | undefined>;
  adoptIndex(file: string, diffId: DiffId): Promise<void>;
  /** What steps made, by what decided it. */
  readonly records: Records;
  /** What is known of the files of a context. */
  statCache(context: string): StatCache;
  /** What was fetched from URLs. */
  readonly downloads: Downloads;
  /** Where git repositories are kept from build to build, a directory for each. Made when absent. */
  gitDirectory(): Promise<string>;
  /**
   * Opens what a build in a namespace needs, to the user and group who are root in there and nobody to us: the way to
   * the blobs, and the directories of this build and of this id map. Gives the store's root. @throws TsbuildError STORE_FAILED
   */
  admit(owner: { readonly uid: number; readonly gid: number }, idMap: string): Promise<string>;
  /** Staging directories of builds that are dead; some may need the namespace of their owners to delete. */
  abandoned(): Promise<readonly string[]>;
}

import type { Hashing } from "../internal/hashing.js";
import type { HttpEnvironment, HttpTimeouts, HttpTrust } from "../internal/http.js";
import type { RetryPolicy } from "../internal/retry.js";
import type { Digest } from "../oci/digest.js";
import type { Reference } from "../oci/reference.js";
import type { Descriptor, Platform } from "../oci/types.js";

export type { HttpEnvironment };

export type Secret =
  | { readonly kind: "basic"; readonly username: string; readonly password: string }
  /** A refresh token (`identitytoken`), exchanged at the token server. */
  | { readonly kind: "refresh"; readonly token: string }
  /** A bearer token, used as it is (`registrytoken`). */
  | { readonly kind: "bearer"; readonly token: string };

/** A secret and where it came from, for messages: `auths["ghcr.io"] in /root/.docker/config.json`. Never the secret itself. */
export interface Credential {
  readonly secret: Secret;
  readonly source: string;
}

/** Asked per repository (credentials may be scoped to a path); `undefined` means anonymous. Stays in the front process. */
export interface Keychain {
  (repository: RepositoryName, signal: AbortSignal): Promise<Credential | undefined>;
  /** After it was asked: the places it looked at and why each gave nothing, for the message of a refusal. */
  readonly lookedIn?: (repository: RepositoryName) => readonly string[];
}

export interface RepositoryName {
  /** `host[:port]`; Docker Hub is `index.docker.io`. */
  readonly registry: string;
  readonly repository: string;
}

/** Docker's foreign layers and image-spec's non-distributable ones say where else their bytes are. */
export interface ForeignDescriptor extends Descriptor {
  readonly urls?: readonly string[];
}

export interface Call {
  readonly signal: AbortSignal;
  /** Bytes of bodies that went over the wire since the last call of it. */
  readonly onBytes?: (bytes: number) => void;
}

export interface BlobCall extends Call {
  /** Where the blob is hashed; absent: in place. */
  readonly hashing?: Hashing;
}

/** Manifests from before, by digest: they are not asked for again. */
export interface KeptManifests {
  /** `undefined` for one that is not kept. What is damaged is fetched again. */
  get(digest: Digest): Promise<Uint8Array | undefined>;
  put(manifest: Manifest): Promise<void>;
}

export interface ManifestCall extends Call {
  readonly kept?: KeptManifests;
  /** The caller can do without: a registry that does not answer is not tried as often. */
  readonly isOptional?: boolean;
}

/** Where the bytes of a blob that is pushed come from. */
export interface BlobSource {
  /** Called again on a retry. */
  readonly open: () => AsyncIterable<Uint8Array>;
  /** A repository that has it. */
  readonly from?: Reference;
  /** The registry will hardly have it: it is not asked, the first time. */
  readonly isNew?: boolean;
}

export interface Manifest {
  readonly descriptor: Descriptor;
  /** As the registry sent them; they hash to the descriptor's digest. */
  readonly bytes: Uint8Array;
}

export interface Registry extends AsyncDisposable {
  /** The manifest or index that the reference names. @throws TsbuildError REGISTRY_UNAVAILABLE or REGISTRY_DENIED */
  manifest(reference: Reference, call: ManifestCall): Promise<Manifest>;
  /** The image manifest for a platform: as `manifest`, but an index is followed to its best entry. */
  resolve(reference: Reference, platform: Platform, call: ManifestCall): Promise<Manifest>;
  /** Verified: throws at the end when the bytes are not the descriptor's; resumes where a connection broke. */
  blob(reference: Reference, blob: Descriptor, call: BlobCall): AsyncIterable<Uint8Array>;
  /**
   * Whether the blob can be pulled, as far as a HEAD tells: `false` where the registry has none, or one of another size.
   * What it does not say counts as yes. @throws the signal's reason
   */
  hasBlob(reference: Reference, blob: Descriptor, call: Call): Promise<boolean>;
  /**
   * The digest of what the reference names where it would be pushed to; `undefined` where that is nothing, or where the
   * registry does not say. @throws TsbuildError REGISTRY_UNAVAILABLE when it cannot be reached
   */
  find(reference: Reference, call: Call): Promise<Digest | undefined>;
  /**
   * Whether the repository exists where it would be pushed to: `false` only where the registry says that it does not.
   * @throws TsbuildError REGISTRY_UNAVAILABLE when it cannot be reached
   */
  hasRepository(reference: Reference, call: ManifestCall): Promise<boolean>;
  /** HEAD, then a mount from `from` where it is in the same registry, then an upload; `open` is called again on a retry. */
  pushBlob(
    reference: Reference,
    blob: Descriptor,
    source: BlobSource,
    call: Call,
  ): Promise<"exists" | "mounted" | "uploaded">;
  /** To the reference's tag, or to its digest when it has none. */
  pushManifest(
    reference: Reference,
    bytes: Uint8Array,
    mediaType: string,
    call: Call,
  ): Promise<Digest>;
  /** Whether an upload would be allowed, found out before the build: @throws TsbuildError REGISTRY_DENIED */
  checkPush(reference: Reference, call: Call): Promise<void>;
}

/** How hosts are spoken to; see research on Kaniko's flags for the exact meaning. */
export interface RegistryOptions {
  /** Plain HTTP, by `host[:port]`, where the host does not answer in TLS (as go-containerregistry does it). */
  readonly insecureRegistries: ReadonlySet<string>;
  /** The same for every push, and for every pull. */
  readonly insecurePush: boolean;
  readonly insecurePull: boolean;
  /** Certificates are not verified, for all or by `host[:port]`. */
  readonly skipTlsVerify: boolean;
  /** The same for every pull. Default false. */
  readonly skipTlsVerifyPull?: boolean;
  readonly skipTlsVerifyRegistries: ReadonlySet<string>;
  /** `host -> host[:port][/prefix]…`, tried in order, then the host itself. Pulls only. */
  readonly registryMap: ReadonlyMap<string, readonly string[]>;
  /** Pulls never go to a mapped registry itself once all its mirrors failed. Default false. */
  readonly skipDefaultRegistryFallback?: boolean;
  /** Certificates of authorities and of ourselves, by `host[:port]`. */
  readonly trust?: ReadonlyMap<string, Pick<HttpTrust, "certificateFiles" | "client">>;
  /** How often and how patiently a failed request is tried again; what is left out is the default. */
  readonly retry?: Partial<RetryPolicy>;
  /** What differs from that for pushes, for manifests and for blobs that are pulled. */
  readonly retryOf?: Readonly<Partial<Record<"push" | "manifest" | "blob", Partial<RetryPolicy>>>>;
  readonly timeouts?: Partial<HttpTimeouts>;
  readonly userAgent: string;
  readonly keychain: Keychain;
  readonly http: HttpEnvironment;
}

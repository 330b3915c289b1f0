import { createHttpClient, type HttpClient } from "../internal/http.js";
import { DEFAULT_RETRY, type RetryPolicy } from "../internal/retry.js";
import { TsbuildError } from "../errors.js";
import type { Digest } from "../oci/digest.js";
import { isIndex } from "../oci/media-types.js";
import { familiarName, type Reference } from "../oci/reference.js";
import type { Descriptor, Platform } from "../oci/types.js";
import { Authenticator } from "./auth.js";
import { type Endpoint, pullEndpoints, pushEndpoint, trustOf } from "./endpoint.js";
import { RegistryError } from "./errors.js";
import { chooseEntry, keptManifest } from "./manifest.js";
import { mirrorPolicy, pullBlob, pullManifest } from "./pull.js";
import { findBlob, findManifest, findRepository } from "./find.js";
import { checkPush, pushBlob, pushManifest, type RefusedMounts } from "./push.js";
import { Transport } from "./transport.js";
import type {
  BlobCall,
  BlobSource,
  Call,
  Manifest,
  ManifestCall,
  Registry,
  RegistryOptions,
} from "./types.js";

/** An index may list indexes; nobody nests deeper. */
const MAX_INDEX_DEPTH = 4;

/**
 * Speaks to any number of registries: https://github.com/opencontainers/distribution-spec/blob/main/spec.md. Nothing is
 * connected, read or loaded before the first call. Dispose it to close its connections.
 */
export function createRegistry(options: RegistryOptions): Registry {
  return new RegistryClient(options);
}

class RegistryClient implements Registry {
  readonly #options: RegistryOptions;
  readonly #http: HttpClient;
  /** For manifests, for blobs that are pulled, and for what concerns a push. */
  readonly #manifests: Transport;
  readonly #blobs: Transport;
  readonly #pushes: Transport;
  /** Which of its endpoints last served a repository: what follows a manifest is asked for there first. */
  readonly #served = new Map<string, string>();
  readonly #refusedMounts: RefusedMounts = new Set();

  constructor(options: RegistryOptions) {
    const policy: RetryPolicy = { ...DEFAULT_RETRY, ...options.retry };
    const { push = {}, manifest = {}, blob = {} } = options.retryOf ?? {};
    // A login serves them all.
    const attempts = [policy, push, manifest, blob].map((one) => one.attempts ?? 0);
    this.#options = options;
    this.#http = createHttpClient(options.http, options.timeouts);
    const { keychain, userAgent } = options;
    const authenticator = new Authenticator({
      http: this.#http,
      keychain,
      retry: { ...policy, attempts: Math.max(...attempts) },
      clientFor: (host) => trustOf(options, host)?.client,
      userAgent,
    });
    const transport = new Transport(this.#http, authenticator, policy, userAgent);
    this.#manifests = transport.withPolicy({ ...policy, ...manifest });
    this.#blobs = transport.withPolicy({ ...policy, ...blob });
    this.#pushes = transport.withPolicy({ ...policy, ...push });
  }

  async manifest(reference: Reference, call: ManifestCall): Promise<Manifest> {
    const known = await keptManifest(reference, call.kept);
    if (known !== undefined) return known;
    const pulled = await this.#pullManifest(reference, call);
    await call.kept?.put(pulled);
    return pulled;
  }

  async #pullManifest(reference: Reference, call: ManifestCall): Promise<Manifest> {
    const endpoints = this.#pullEndpoints(reference);
    const failures: unknown[] = [];
    for (const [index, endpoint] of endpoints.entries()) {
      const isLast = index === endpoints.length - 1;
      const isTried = isLast && call.isOptional !== true;
      const policy = isTried ? this.#manifests.policy : mirrorPolicy(this.#manifests.policy);
      try {
        const found = await pullManifest(this.#manifests, endpoint, reference, policy, call);
        if (endpoints.length > 1) this.#served.set(servedKey(reference), endpoint.host);
        return found;
      } catch (error) {
        call.signal.throwIfAborted();
        failures.push(error);
      }
    }
    throw allFailed(reference, failures);
  }

  async resolve(reference: Reference, platform: Platform, call: ManifestCall): Promise<Manifest> {
    let current = await this.manifest(reference, call);
    for (let depth = 0; isIndex(current.descriptor.mediaType); depth++) {
      if (depth === MAX_INDEX_DEPTH) {
        throw new TsbuildError(
          "REGISTRY_UNAVAILABLE",
          `tried to pull ${familiarName(reference)}: its indexes are nested too deeply`,
        );
      }
      const { digest } = chooseEntry(reference, current, platform);
      current = await this.manifest({ ...reference, digest }, call);
    }
    return current;
  }

  blob(reference: Reference, blob: Descriptor, call: BlobCall): AsyncIterable<Uint8Array> {
    return pullBlob(this.#blobs, this.#pullEndpoints(reference), reference, blob, call);
  }

  async hasBlob(reference: Reference, blob: Descriptor, call: Call): Promise<boolean> {
    for (const endpoint of this.#pullEndpoints(reference)) {
      if (await findBlob(this.#blobs, endpoint, blob, call)) return true;
    }
    return false;
  }

  find(reference: Reference, call: Call): Promise<Digest | undefined> {
    return findManifest(this.#pushes, this.#pushEndpoint(reference), reference, call);
  }

  hasRepository(reference: Reference, call: ManifestCall): Promise<boolean> {
    return findRepository(this.#pushes, this.#pushEndpoint(reference), call);
  }

  pushBlob(
    reference: Reference,
    blob: Descriptor,
    source: BlobSource,
    call: Call,
  ): Promise<"exists" | "mounted" | "uploaded"> {
    const endpoint = this.#pushEndpoint(reference);
    return pushBlob(this.#pushes, endpoint, blob, source, call, this.#refusedMounts);
  }

  pushManifest(
    reference: Reference,
    bytes: Uint8Array,
    mediaType: string,
    call: Call,
  ): Promise<Digest> {
    const endpoint = this.#pushEndpoint(reference);
    return pushManifest(this.#pushes, endpoint, reference, bytes, mediaType, call);
  }

  checkPush(reference: Reference, call: Call): Promise<void> {
    return checkPush(this.#pushes, this.#pushEndpoint(reference), reference, call);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#http[Symbol.asyncDispose]();
  }

  #pushEndpoint(reference: Reference): Endpoint {
    return pushEndpoint(this.#options, reference);
  }

  #pullEndpoints(reference: Reference): readonly [Endpoint, ...Endpoint[]] {
    const endpoints = pullEndpoints(this.#options, reference);
    const host = this.#served.get(servedKey(reference));
    const served = endpoints.find((endpoint) => endpoint.host === host);
    if (served === undefined) return endpoints;
    return [served, ...endpoints.filter((endpoint) => endpoint !== served)];
  }
}

function servedKey({ registry, repository }: Reference): string {
  return `${registry}/${repository}`;
}

/** One error for all endpoints: the last one's kind and hint, and what each of them said. */
function allFailed(reference: Reference, failures: readonly unknown[]): unknown {
  const last = failures.at(-1);
  if (failures.length === 1 || !(last instanceof TsbuildError)) return last;
  const said = failures.map((error) => (error instanceof Error ? error.message : String(error)));
  return new RegistryError(
    last.code,
    `tried to pull ${familiarName(reference)}: all ${failures.length} registries failed: ${said.join("; ")}`,
    {
      cause: last,
      ...(last.hint === undefined ? {} : { hint: last.hint }),
      ...(last instanceof RegistryError ? { faults: last.faults } : {}),
      ...(last instanceof RegistryError && last.status !== undefined
        ? { status: last.status }
        : {}),
    },
  );
}

import { createHash, randomUUID } from "node:crypto";
import { createServer, type IncomingMessage, type Server, type ServerResponse } from "node:http";
import { createServer as createTlsServer } from "node:https";
import type { Socket } from "node:net";
import { setTimeout as sleep } from "node:timers/promises";
import type { TokenServer } from "./token-server.js";

/** What goes wrong, for the next `times` requests (default 1) that fit. */
export type Fault = {
  readonly method?: string;
  /** Of the request's path and query. */
  readonly path?: RegExp;
  readonly times?: number;
} & (
  | {
      readonly kind: "status";
      readonly status: number;
      readonly headers?: Readonly<Record<string, string>>;
      readonly body?: string;
    }
  /** The connection is cut before an answer, after this many bytes of the request's body. */
  | { readonly kind: "drop-request"; readonly afterBytes: number }
  /** The connection is cut after this many bytes of the answer's body. */
  | { readonly kind: "drop-response"; readonly afterBytes: number }
  /** The answer is chunked, and ends well-formed after this many bytes. */
  | { readonly kind: "truncate"; readonly afterBytes: number }
  /** Nothing more comes after this many bytes, of a PUT nothing at all, and the connection stays. */
  | { readonly kind: "stall"; readonly afterBytes: number }
  /** One bit of the answer's body is another. */
  | { readonly kind: "corrupt" }
  /** The body is accepted and the connection cut: the client does not learn that it worked. */
  | { readonly kind: "lose-answer" }
);

export type RegistryAuth =
  | { readonly kind: "basic"; readonly username: string; readonly password: string }
  | { readonly kind: "bearer"; readonly tokens: TokenServer };

export interface MemoryRegistryOptions {
  readonly tls?: { readonly cert: Buffer; readonly key: Buffer; readonly ca?: Buffer };
  readonly auth?: RegistryAuth;
  /** Private things are 404, not 401, for whoever does not say who he is; only /v2/ asks. */
  readonly hidesPrivate?: boolean;
  /** accept: 201 where the blob is there. ignore: 202. refuse: 403. fail: 400. Default accept. */
  readonly mount?: "accept" | "ignore" | "refuse" | "fail";
  /** Form of an upload's Location. Default relative. */
  readonly location?: "relative" | "absolute" | "query" | "missing" | "plain-scheme";
  /** Whether Range is honoured. Default true. */
  readonly ranges?: boolean;
  /** Blobs are served by a redirect to this origin (another memory registry with the same blobs). */
  readonly redirectBlobsTo?: string;
  /** Answers a push of these tags with what ECR says of tags that may not move. */
  readonly immutableTags?: ReadonlySet<string>;
  /** 127.0.0.1 unless said otherwise. */
  readonly address?: string;
}

export interface RecordedRequest {
  readonly method: string;
  /** Path and query. */
  readonly url: string;
  readonly headers: Readonly<Record<string, string | string[] | undefined>>;
  readonly remotePort: number;
  /** Bytes of the body that arrived. */
  received: number;
  status: number | undefined;
}

export interface StoredManifest {
  readonly bytes: Buffer;
  readonly mediaType: string;
}

export interface MemoryRegistry extends AsyncDisposable {
  /** `127.0.0.1:port` */
  readonly host: string;
  readonly port: number;
  readonly origin: string;
  /** By repository, then by digest. */
  readonly blobs: Map<string, Map<string, Buffer>>;
  /** By repository, then by tag and by digest. */
  readonly manifests: Map<string, Map<string, StoredManifest>>;
  readonly requests: RecordedRequest[];
  /** Connections that were ever opened. */
  readonly connections: number;
  /** Uploads that were begun and neither finished nor cancelled. */
  readonly openUploads: number;
  addBlob(repository: string, bytes: Buffer): string;
  /** Gives its digest. */
  addManifest(repository: string, tag: string, bytes: Buffer, mediaType: string): string;
  fail(fault: Fault): void;
  /** The requests of a method whose URL fits. */
  count(method: string, url?: RegExp): number;
}

const sha256 = (bytes: Buffer): string =>
  `sha256:${createHash("sha256").update(bytes).digest("hex")}`;

/** A registry over node:http, in memory, on a free port of loopback. */
export async function startMemoryRegistry(
  options: MemoryRegistryOptions = {},
): Promise<MemoryRegistry> {
  const registry = new InMemory(options);
  await registry.listen();
  return registry;
}

class Cut extends Error {}

class InMemory implements MemoryRegistry {
  readonly blobs = new Map<string, Map<string, Buffer>>();
  readonly manifests = new Map<string, Map<string, StoredManifest>>();
  readonly requests: RecordedRequest[] = [];
  connections = 0;
  port = 0;
  readonly #options: MemoryRegistryOptions;
  readonly #server: Server;
  readonly #sockets = new Set<Socket>();
  readonly #uploads = new Map<string, string>();
  readonly #faults: (Fault & { left: number })[] = [];

  constructor(options: MemoryRegistryOptions) {
    this.#options = options;
    const answer = (request: IncomingMessage, response: ServerResponse): void => {
      const { socket } = request;
      this.#serve(request, response).catch((error: unknown) => {
        if (!(error instanceof Cut) && !response.headersSent)
          response.writeHead(500).end(String(error));
        else socket.destroy();
      });
    };
    this.#server =
      options.tls === undefined
        ? createServer(answer)
        : createTlsServer(
            { ...options.tls, ...(options.tls.ca === undefined ? {} : { requestCert: true }) },
            answer,
          );
    this.#server.on("connection", (socket: Socket) => {
      this.connections++;
      this.#sockets.add(socket);
      socket.on("close", () => this.#sockets.delete(socket));
      socket.on("error", () => {});
    });
  }

  get host(): string {
    return `${this.#options.address ?? "127.0.0.1"}:${this.port}`;
  }

  get origin(): string {
    return `${this.#options.tls === undefined ? "http" : "https"}://${this.host}`;
  }

  get openUploads(): number {
    return this.#uploads.size;
  }

  async listen(): Promise<void> {
    await new Promise<void>((resolve, reject) => {
      this.#server.once("error", reject);
      this.#server.listen(0, this.#options.address ?? "127.0.0.1", resolve);
    });
    const address = this.#server.address();
    this.port = typeof address === "object" && address !== null ? address.port : 0;
  }

  addBlob(repository: string, bytes: Buffer): string {
    const digest = sha256(bytes);
    this.#of(this.blobs, repository).set(digest, bytes);
    return digest;
  }

  addManifest(repository: string, tag: string, bytes: Buffer, mediaType: string): string {
    const digest = sha256(bytes);
    const stored = this.#of(this.manifests, repository);
    stored.set(digest, { bytes, mediaType });
    stored.set(tag, { bytes, mediaType });
    return digest;
  }

  fail(fault: Fault): void {
    this.#faults.push({ ...fault, left: fault.times ?? 1 });
  }

  count(method: string, url: RegExp = /./): number {
    return this.requests.filter((seen) => seen.method === method && url.test(seen.url)).length;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const socket of this.#sockets) socket.destroy();
    await new Promise((resolve) => this.#server.close(resolve));
  }

  #of<T>(map: Map<string, Map<string, T>>, repository: string): Map<string, T> {
    const known = map.get(repository) ?? new Map<string, T>();
    map.set(repository, known);
    return known;
  }

  #fault(method: string, url: string): Fault | undefined {
    const found = this.#faults.find(
      (fault) =>
        fault.left > 0 &&
        (fault.method === undefined || fault.method === method) &&
        (fault.path === undefined || fault.path.test(url)),
    );
    if (found !== undefined) found.left--;
    return found;
  }

  async #serve(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const { method = "", url = "/" } = request;
    const seen: RecordedRequest = {
      method,
      url,
      headers: request.headers,
      remotePort: request.socket.remotePort ?? 0,
      received: 0,
      status: undefined,
    };
    this.requests.push(seen);
    response.on(
      "close",
      () => (seen.status = response.headersSent ? response.statusCode : undefined),
    );
    const fault = this.#fault(method, url);
    if (fault?.kind === "status") {
      for await (const chunk of request as AsyncIterable<Buffer>) seen.received += chunk.length;
      response.writeHead(fault.status, fault.headers).end(fault.body);
      return;
    }
    const body = await readBody(request, seen, fault);
    if (fault?.kind === "stall" && method === "PUT") return;
    if (!this.#authorize(request, response)) return;
    this.#route(new URL(url, this.origin), method, body, request, response, fault);
  }

  #authorize(request: IncomingMessage, response: ServerResponse): boolean {
    const { auth } = this.#options;
    if (auth === undefined) return true;
    const header = request.headers.authorization ?? "";
    const url = new URL(request.url ?? "/", this.origin);
    const repository = /^\/v2\/(.+)\/(?:blobs|manifests|tags)\//.exec(url.pathname)?.[1];
    const reads = request.method === "GET" || request.method === "HEAD";
    if (auth.kind === "basic") {
      const wanted = Buffer.from(`${auth.username}:${auth.password}`).toString("base64");
      if (header === `Basic ${wanted}`) return true;
    } else {
      const from = url.searchParams.get("from");
      const allowed =
        (repository === undefined
          ? auth.tokens.isValid(header)
          : auth.tokens.allows(header, repository, reads ? "pull" : "push")) &&
        (from === null || auth.tokens.allows(header, from, "pull"));
      if (allowed) return true;
    }
    if (this.#options.hidesPrivate === true && header === "" && url.pathname !== "/v2/") {
      this.#error(response, 404, "NAME_UNKNOWN", "repository name not known to registry");
      return false;
    }
    const challenge =
      auth.kind === "basic"
        ? 'Basic realm="test registry"'
        : `Bearer realm="${auth.tokens.realm}",service="${auth.tokens.service}"` +
          (repository === undefined
            ? ""
            : `,scope="repository:${repository}:${reads ? "pull" : "pull,push"}"`);
    this.#error(response, 401, "UNAUTHORIZED", "authentication required", {
      "www-authenticate": challenge,
    });
    return false;
  }

  #error(
    response: ServerResponse,
    status: number,
    code: string,
    message: string,
    headers: Readonly<Record<string, string>> = {},
  ): void {
    response
      .writeHead(status, { "content-type": "application/json", ...headers })
      .end(JSON.stringify({ errors: [{ code, message, detail: null }] }));
  }

  #route(
    url: URL,
    method: string,
    body: Buffer,
    request: IncomingMessage,
    response: ServerResponse,
    fault: Fault | undefined,
  ): void {
    if (url.pathname === "/v2/") return void response.writeHead(200).end("{}");
    const tags = /^\/v2\/(.+)\/tags\/list$/.exec(url.pathname);
    if (tags !== null) return this.#tags(tags[1] ?? "", response);
    const match = /^\/v2\/(.+)\/(blobs\/uploads|blobs|manifests)\/([^/]*)$/.exec(url.pathname);
    if (match === null) return this.#error(response, 404, "NAME_UNKNOWN", "unknown path");
    const [, repository = "", kind, name = ""] = match;
    if (kind === "blobs/uploads")
      return this.#upload(url, method, repository, name, body, request, response);
    if (kind === "manifests")
      return this.#manifest(method, repository, name, body, request, response, fault);
    const blob = this.blobs.get(repository)?.get(name);
    if (blob === undefined) {
      return this.#error(response, 404, "BLOB_UNKNOWN", "blob unknown to registry");
    }
    const { redirectBlobsTo } = this.#options;
    if (redirectBlobsTo !== undefined && method === "GET") {
      const location = `${redirectBlobsTo}${url.pathname}?signature=from-the-registry`;
      return void response.writeHead(307, { location }).end();
    }
    void this.#send(request, response, blob, { "docker-content-digest": name }, fault);
  }

  #tags(name: string, response: ServerResponse): void {
    const stored = this.manifests.get(name);
    if (stored === undefined) {
      return this.#error(response, 404, "NAME_UNKNOWN", "repository name not known to registry");
    }
    const tags = [...stored.keys()].filter((tag) => !tag.startsWith("sha256:"));
    response.writeHead(200, { "content-type": "application/json" });
    response.end(JSON.stringify({ name, tags }));
  }

  #manifest(
    method: string,
    repository: string,
    name: string,
    body: Buffer,
    request: IncomingMessage,
    response: ServerResponse,
    fault: Fault | undefined,
  ): void {
    if (method === "PUT") {
      if (this.#options.immutableTags?.has(name) === true) {
        const why = `The image tag '${name}' already exists in the '${repository}' repository and cannot be overwritten because the tag is immutable.`;
        return this.#error(response, 400, "TAG_INVALID", why);
      }
      const type = request.headers["content-type"] ?? "";
      const digest = this.addManifest(repository, name, body, type);
      response.writeHead(201, {
        location: `/v2/${repository}/manifests/${digest}`,
        "docker-content-digest": digest,
      });
      return void response.end();
    }
    const stored = this.manifests.get(repository)?.get(name);
    if (stored === undefined) {
      return this.#error(response, 404, "MANIFEST_UNKNOWN", "manifest unknown");
    }
    const headers = {
      "content-type": stored.mediaType,
      "docker-content-digest": sha256(stored.bytes),
    };
    void this.#send(request, response, stored.bytes, headers, fault);
  }

  #upload(
    url: URL,
    method: string,
    repository: string,
    id: string,
    body: Buffer,
    request: IncomingMessage,
    response: ServerResponse,
  ): void {
    if (method === "POST") return this.#startUpload(url, repository, request, response);
    const known = url.searchParams.get("session") ?? id;
    if (this.#uploads.get(known) !== repository) {
      return this.#error(response, 404, "BLOB_UPLOAD_UNKNOWN", "blob upload unknown to registry");
    }
    this.#uploads.delete(known);
    if (method === "DELETE") return void response.writeHead(204).end();
    if (sha256(body) !== url.searchParams.get("digest")) {
      return this.#error(response, 400, "DIGEST_INVALID", "provided digest did not match content");
    }
    const digest = this.addBlob(repository, body);
    response.writeHead(201, {
      location: `/v2/${repository}/blobs/${digest}`,
      "docker-content-digest": digest,
    });
    response.end();
  }

  #startUpload(
    url: URL,
    repository: string,
    request: IncomingMessage,
    response: ServerResponse,
  ): void {
    const { mount: policy = "accept", location: form = "relative" } = this.#options;
    const mount = url.searchParams.get("mount");
    if (mount !== null) {
      if (policy === "refuse") return this.#error(response, 403, "DENIED", "no mounts here");
      if (policy === "fail") return this.#error(response, 400, "UNSUPPORTED", "no mounts here");
      const blob = this.blobs.get(url.searchParams.get("from") ?? "")?.get(mount);
      if (policy === "accept" && blob !== undefined) {
        this.addBlob(repository, blob);
        const location = `/v2/${repository}/blobs/${mount}`;
        return void response.writeHead(201, { location, "docker-content-digest": mount }).end();
      }
    }
    const id = randomUUID();
    this.#uploads.set(id, repository);
    const path = `/v2/${repository}/blobs/uploads/`;
    const host = request.headers.host ?? this.host;
    const scheme = this.#options.tls === undefined ? "http" : "https";
    const locations = {
      relative: `${path}${id}`,
      absolute: `${scheme}://${host}${path}${id}`,
      query: `${path}x?session=${id}&_state=a%2Bb%3D`,
      "plain-scheme": `http://${host}${path}${id}`,
      missing: "",
    };
    const location = locations[form];
    response.writeHead(202, location === "" ? {} : { location }).end();
  }

  async #send(
    request: IncomingMessage,
    response: ServerResponse,
    whole: Buffer,
    headers: Readonly<Record<string, string>>,
    fault: Fault | undefined,
  ): Promise<void> {
    const range = /^bytes=(\d+)-$/.exec(request.headers.range ?? "")?.[1];
    const start = range === undefined || this.#options.ranges === false ? 0 : Number(range);
    let bytes = whole.subarray(start);
    const status = start === 0 ? 200 : 206;
    const extra: Record<string, string | number> = { ...headers };
    if (start > 0) extra["content-range"] = `bytes ${start}-${whole.length - 1}/${whole.length}`;
    if (fault?.kind !== "truncate") extra["content-length"] = bytes.length;
    response.writeHead(status, extra);
    if (request.method === "HEAD") return void response.end();
    if (fault?.kind === "corrupt") {
      bytes = Buffer.from(bytes);
      bytes.writeUInt8(bytes.readUInt8(bytes.length >> 1) ^ 1, bytes.length >> 1);
    }
    if (fault === undefined || !("afterBytes" in fault)) return void response.end(bytes);
    response.write(bytes.subarray(0, fault.afterBytes));
    if (fault.kind === "truncate") return void response.end();
    if (fault.kind === "stall") return;
    // What was written must arrive before the connection is cut.
    const { socket } = request;
    await sleep(20);
    socket.destroy();
  }
}

async function readBody(
  request: IncomingMessage,
  seen: RecordedRequest,
  fault: Fault | undefined,
): Promise<Buffer> {
  const chunks: Buffer[] = [];
  const limit = fault?.kind === "drop-request" ? fault.afterBytes : Infinity;
  if (limit === 0) throw new Cut();
  for await (const chunk of request as AsyncIterable<Buffer>) {
    chunks.push(chunk);
    seen.received += chunk.length;
    if (seen.received >= limit) throw new Cut();
  }
  if (fault?.kind === "lose-answer") throw new Cut();
  return Buffer.concat(chunks);
}

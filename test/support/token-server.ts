import { randomUUID } from "node:crypto";
import { createServer, type IncomingMessage, type Server, type ServerResponse } from "node:http";
import { createServer as createTlsServer } from "node:https";

export type Action = "pull" | "push";

export interface TokenServerOptions {
  readonly tls?: { readonly cert: Buffer; readonly key: Buffer };
  /** Passwords by user. */
  readonly users?: Readonly<Record<string, string>>;
  readonly refreshTokens?: ReadonlySet<string>;
  /** What a user may do; "" is nobody in particular. Default: users everything, others nothing. */
  readonly grants?: (user: string, repository: string, action: Action) => boolean;
  /** Requests with a scope that is not granted whole are refused, not answered with a lesser token. */
  readonly refusesLesser?: boolean;
  /** How tokens may be asked for. Default both. */
  readonly flows?: readonly ("get" | "post")[];
  /** Seconds, by the server's word. Default 300. */
  readonly expiresIn?: number;
  /** Milliseconds after which tokens do not work any more, whatever was said. */
  readonly realLifetimeMs?: number;
  /** The name of the field that holds the token. Default token. */
  readonly field?: "token" | "access_token";
  /** POST answers bring a new refresh token, and the old one ends. */
  readonly rotates?: boolean;
}

export interface TokenRequestSeen {
  readonly method: string;
  readonly user: string;
  readonly scopes: readonly string[];
  readonly service: string | undefined;
  readonly grantType: string | undefined;
}

export interface TokenServer extends AsyncDisposable {
  readonly realm: string;
  readonly service: string;
  readonly seen: TokenRequestSeen[];
  /** Statuses to answer the next requests with, in order. */
  readonly failures: number[];
  isValid(authorization: string): boolean;
  allows(authorization: string, repository: string, action: Action): boolean;
  /** Every token that was given out ends. */
  expireAll(): void;
}

interface Issued {
  readonly scopes: readonly { readonly repository: string; readonly actions: readonly string[] }[];
  readonly endsAt: number;
}

/** https://distribution.github.io/distribution/spec/auth/token/ and /oauth/, on loopback. */
export async function startTokenServer(options: TokenServerOptions = {}): Promise<TokenServer> {
  const server = new Tokens(options);
  await server.listen();
  return server;
}

class Tokens implements TokenServer {
  readonly service = "test service";
  readonly seen: TokenRequestSeen[] = [];
  readonly failures: number[] = [];
  realm = "";
  readonly #options: TokenServerOptions;
  readonly #server: Server;
  readonly #issued = new Map<string, Issued>();
  readonly #refreshTokens: Set<string>;

  constructor(options: TokenServerOptions) {
    this.#options = options;
    this.#refreshTokens = new Set(options.refreshTokens);
    const answer = (request: IncomingMessage, response: ServerResponse): void => {
      this.#serve(request, response).catch(() => request.socket.destroy());
    };
    this.#server =
      options.tls === undefined ? createServer(answer) : createTlsServer(options.tls, answer);
  }

  async listen(): Promise<void> {
    await new Promise<void>((resolve) => this.#server.listen(0, "127.0.0.1", resolve));
    const address = this.#server.address();
    const port = typeof address === "object" && address !== null ? address.port : 0;
    const scheme = this.#options.tls === undefined ? "http" : "https";
    this.realm = `${scheme}://127.0.0.1:${port}/token`;
  }

  isValid(authorization: string): boolean {
    return this.#find(authorization) !== undefined;
  }

  allows(authorization: string, repository: string, action: Action): boolean {
    const issued = this.#find(authorization);
    if (issued === undefined) return false;
    return issued.scopes.some(
      (scope) => scope.repository === repository && scope.actions.includes(action),
    );
  }

  expireAll(): void {
    this.#issued.clear();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#server.closeAllConnections();
    await new Promise((resolve) => this.#server.close(resolve));
  }

  #find(authorization: string): Issued | undefined {
    const issued = this.#issued.get(authorization.replace(/^Bearer /, ""));
    return issued === undefined || issued.endsAt < Date.now() ? undefined : issued;
  }

  async #serve(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const chunks: Buffer[] = [];
    for await (const chunk of request as AsyncIterable<Buffer>) chunks.push(chunk);
    const url = new URL(request.url ?? "/", this.realm);
    const isPost = request.method === "POST";
    const fields = isPost
      ? new URLSearchParams(Buffer.concat(chunks).toString())
      : url.searchParams;
    const scopes = isPost
      ? (fields.get("scope") ?? "").split(" ").filter(Boolean)
      : fields.getAll("scope");
    const user = isPost ? this.#userOfForm(fields) : this.#userOfHeader(request);
    this.seen.push({
      method: request.method ?? "",
      user: user ?? "refused",
      scopes,
      service: fields.get("service") ?? undefined,
      grantType: fields.get("grant_type") ?? undefined,
    });
    const failure = this.failures.shift();
    if (failure !== undefined) return void response.writeHead(failure).end("later");
    const flows = this.#options.flows ?? ["get", "post"];
    if (!flows.includes(isPost ? "post" : "get")) return void response.writeHead(405).end();
    const isRightService = fields.get("service") === this.service;
    if (user === undefined || !isRightService) return refuse(response);
    const granted = this.#grant(user, scopes);
    if (granted === undefined) return refuse(response);
    this.#issue(response, granted, fields);
  }

  #issue(response: ServerResponse, scopes: Issued["scopes"], fields: URLSearchParams): void {
    const token = `token-${randomUUID()}`;
    const { expiresIn = 300, realLifetimeMs = 3_600_000, field = "token", rotates } = this.#options;
    this.#issued.set(token, { scopes, endsAt: Date.now() + realLifetimeMs });
    const answer: Record<string, unknown> = { [field]: token, expires_in: expiresIn };
    const refresh = fields.get("refresh_token");
    if (rotates === true && refresh !== null) {
      this.#refreshTokens.delete(refresh);
      const next = `refresh-${randomUUID()}`;
      this.#refreshTokens.add(next);
      answer["refresh_token"] = next;
    }
    response.writeHead(200, { "content-type": "application/json" }).end(JSON.stringify(answer));
  }

  /** `undefined` when the credential is wrong. */
  #userOfHeader(request: IncomingMessage): string | undefined {
    const header = request.headers.authorization;
    if (header === undefined) return "";
    const pair = Buffer.from(header.replace(/^Basic /, ""), "base64").toString();
    const colon = pair.indexOf(":");
    const [user, password] = [pair.slice(0, colon), pair.slice(colon + 1)];
    return this.#options.users?.[user] === password ? user : undefined;
  }

  #userOfForm(fields: URLSearchParams): string | undefined {
    if (fields.get("grant_type") === "refresh_token") {
      return this.#refreshTokens.has(fields.get("refresh_token") ?? "") ? "refresh" : undefined;
    }
    const user = fields.get("username") ?? "";
    return this.#options.users?.[user] === fields.get("password") ? user : undefined;
  }

  #grant(user: string, scopes: readonly string[]): Issued["scopes"] | undefined {
    const grants = this.#options.grants ?? ((name: string) => name !== "");
    const granted = scopes.map((scope) => {
      const [, repository = "", actions = ""] = scope.split(":");
      const allowed = actions
        .split(",")
        .filter((action): action is Action => action === "pull" || action === "push")
        .filter((action) => grants(user, repository, action));
      return {
        repository,
        actions: allowed,
        isWhole: allowed.length === actions.split(",").length,
      };
    });
    if (this.#options.refusesLesser === true && granted.some(({ isWhole }) => !isWhole)) {
      return undefined;
    }
    return granted;
  }
}

function refuse(response: ServerResponse): void {
  response
    .writeHead(401, { "content-type": "application/json" })
    .end(JSON.stringify({ errors: [{ code: "UNAUTHORIZED", message: "wrong credential" }] }));
}

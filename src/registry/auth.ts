import type { HttpClient } from "../internal/http.js";
import type { RetryPolicy } from "../internal/retry.js";
import {
  type Challenge,
  covers,
  formatScope,
  otherScopes,
  parseChallenges,
  type Scope,
} from "./challenge.js";
import { coalesce } from "./coalesce.js";
import type { Endpoint } from "./endpoint.js";
import { basicHeader, fetchToken, type Token, type TokenRequest } from "./tokens.js";
import type { Credential, Keychain } from "./types.js";

/** How one request proves who asks. */
export interface Authorization {
  /** `undefined` when the host has not asked for anything yet, or nothing is known to answer with. */
  readonly header: string | undefined;
  readonly credential: Credential | undefined;
}

interface Holder {
  readonly registry: string;
  /** Identifies the credential without holding it. */
  readonly source: string;
  readonly scopes: readonly string[];
  readonly token: Token;
}

export interface AuthOptions {
  readonly http: HttpClient;
  readonly keychain: Keychain;
  readonly retry: RetryPolicy;
  readonly clientFor?: NonNullable<TokenRequest["clientFor"]>;
  readonly userAgent: string;
}

/** A token that ends sooner than this, or within a quarter of its life, is replaced before it is used again. */
const RENEW_BEFORE_MS = 10_000;
/** One build speaks to some ten repositories; the oldest token goes first. */
const MAX_TOKENS = 200;
const ANONYMOUS = "";

/** Remembers, per host, how it wants to be asked, and the tokens it gave. */
export class Authenticator {
  readonly #options: AuthOptions;
  readonly #challenges = new Map<string, Challenge>();
  readonly #credentials = new Map<string, Promise<Credential | undefined>>();
  readonly #running = new Map<string, Promise<Token>>();
  readonly #refreshTokens = new Map<string, string>();
  #tokens: Holder[] = [];

  constructor(options: AuthOptions) {
    this.#options = options;
  }

  /** @throws TsbuildError REGISTRY_DENIED when the token server refuses. */
  async authorization(
    endpoint: Endpoint,
    isSecure: boolean,
    scopes: readonly Scope[],
    signal: AbortSignal,
  ): Promise<Authorization> {
    const credential = await this.credential(endpoint, signal);
    if (credential?.secret.kind === "bearer") {
      return { header: `Bearer ${credential.secret.token}`, credential };
    }
    const challenge = this.#challenges.get(endpoint.host);
    if (challenge === undefined) return { header: undefined, credential };
    if (challenge.scheme === "basic") {
      const secret = credential?.secret;
      return { header: secret?.kind === "basic" ? basicHeader(secret) : undefined, credential };
    }
    const token = await this.#token(endpoint, isSecure, challenge, scopes, credential, signal);
    return { header: `Bearer ${token.text}`, credential };
  }

  credential(endpoint: Endpoint, signal: AbortSignal): Promise<Credential | undefined> {
    const { registry, repository } = endpoint;
    return coalesce(this.#credentials, `${registry}/${repository}`, signal, () =>
      this.#options.keychain({ registry, repository }, signal),
    );
  }

  hasChallenge(endpoint: Endpoint): boolean {
    return this.#challenges.has(endpoint.host);
  }

  /**
   * Takes a host's 401: learns its challenge, and drops what it refused, so that an expired token is replaced and a
   * credential helper is asked again. False when the host names no scheme that we speak.
   */
  learn(endpoint: Endpoint, header: string | undefined, refused: Authorization): boolean {
    const challenges = parseChallenges(header ?? "");
    const challenge =
      challenges.find(({ scheme }) => scheme === "bearer") ??
      challenges.find(({ scheme }) => scheme === "basic");
    if (challenge === undefined) return false;
    this.#challenges.set(endpoint.host, challenge);
    if (refused.header === undefined) return true;
    this.#credentials.delete(`${endpoint.registry}/${endpoint.repository}`);
    this.#tokens = this.#tokens.filter(({ token }) => `Bearer ${token.text}` !== refused.header);
    return true;
  }

  /** For the message of a refusal. */
  describe(endpoint: Endpoint, { credential }: Authorization): string {
    if (credential !== undefined) return `with the credential of ${credential.source}`;
    const looked = this.#options.keychain.lookedIn?.(endpoint) ?? [];
    if (looked.length === 0) return `no credential was found for ${endpoint.registry}`;
    return `no credential was found for ${endpoint.registry}; looked in ${looked.join(", ")}`;
  }

  async #token(
    endpoint: Endpoint,
    isSecure: boolean,
    challenge: Challenge,
    scopes: readonly Scope[],
    credential: Credential | undefined,
    signal: AbortSignal,
  ): Promise<Token> {
    const own = scopes.map(formatScope);
    const wanted = [...own, ...this.#extraScopes(challenge, endpoint, own)];
    const source = credential?.source ?? ANONYMOUS;
    const known = this.#known(endpoint.registry, source, wanted);
    if (known !== undefined) return known;
    const key = JSON.stringify([endpoint.registry, source, wanted]);
    return coalesce(this.#running, key, signal, async () => {
      try {
        const { http, retry, clientFor, userAgent } = this.#options;
        const token = await fetchToken(http, retry, {
          endpoint,
          isSecure,
          challenge,
          scopes: wanted,
          credential: this.#renewed(credential),
          ...(clientFor === undefined ? {} : { clientFor }),
          userAgent,
          signal,
        });
        this.#keep({ registry: endpoint.registry, source, scopes: wanted, token }, credential);
        return token;
      } finally {
        this.#running.delete(key);
      }
    });
  }

  /** Scopes that the host asks for besides ours, where they belong to the repository in question. */
  #extraScopes(
    challenge: Challenge,
    endpoint: Endpoint,
    own: readonly string[],
  ): readonly string[] {
    const last = endpoint.repository.split("/").at(-1) ?? "";
    return otherScopes(challenge, own).filter((scope) => scope.split(":")[1]?.endsWith(last));
  }

  #known(registry: string, source: string, wanted: readonly string[]): Token | undefined {
    const now = Date.now();
    this.#tokens = this.#tokens.filter(({ token }) => token.expiresAtMs > now);
    const holder = this.#tokens.find(
      (held) =>
        held.registry === registry &&
        held.source === source &&
        wanted.every((scope) => held.scopes.some((has) => covers(has, scope))),
    );
    return holder?.token;
  }

  #keep(holder: Holder, credential: Credential | undefined): void {
    const { token } = holder;
    if (token.refreshToken !== undefined && credential?.secret.kind === "refresh") {
      this.#refreshTokens.set(credential.source, token.refreshToken);
    }
    const left = token.expiresAtMs - Date.now();
    const expiresAtMs = token.expiresAtMs - Math.min(RENEW_BEFORE_MS, left / 4);
    this.#tokens = [
      ...this.#tokens.slice(1 - MAX_TOKENS),
      { ...holder, token: { ...token, expiresAtMs } },
    ];
  }

  #renewed(credential: Credential | undefined): Credential | undefined {
    if (credential?.secret.kind !== "refresh") return credential;
    const token = this.#refreshTokens.get(credential.source);
    return token === undefined ? credential : { ...credential, secret: { kind: "refresh", token } };
  }
}

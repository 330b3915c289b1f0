/**
 * A token server as the distribution specification's "Docker Registry v2 authentication" describes it: answers
 * GET (Basic) and POST (OAuth 2) with an RS256 JWT whose certificate chain stands in its header.
 */
import { createSign, randomUUID } from "node:crypto";
import { createServer, type IncomingMessage } from "node:http";
import type { Account } from "./services.js";

export interface Grants {
  readonly accounts: readonly Account[];
  /** Pull without an account. */
  readonly anonymousPull?: boolean;
  /** Seconds until a token expires; 300 when absent. */
  readonly expiresIn?: number;
  /** Repositories to refuse whoever asks. */
  readonly denied?: readonly string[];
}

export interface TokenServer extends AsyncDisposable {
  readonly url: string;
  /** The `auth.token` part of a registry's configuration. */
  readonly registryConfig: Readonly<Record<string, string>>;
  /** The scopes that were asked for, in order. */
  readonly asked: readonly string[];
}

interface Signer {
  readonly certificateFile: string;
  readonly certificateDer: Buffer;
  readonly privateKeyPem: string;
}

const SERVICE = "tsbuild-test-registry";
const ISSUER = "tsbuild-test-issuer";
const SECONDS = 1_000;

/** Starts the server on a free loopback port. */
export async function startTokenServer(grants: Grants, signer: Signer): Promise<TokenServer> {
  const asked: string[] = [];
  const server = createServer((request, response) => {
    const answer = async (): Promise<void> => {
      const ask = await readAsk(request);
      asked.push(...ask.scopes);
      const known = grants.accounts.some(
        (a) => a.username === ask.username && a.password === ask.password,
      );
      const anonymous = ask.username === undefined;
      if (!known && !(anonymous && grants.anonymousPull === true)) {
        response.writeHead(401, { "content-type": "application/json" });
        response.end('{"errors":[{"code":"UNAUTHORIZED","message":"wrong account"}]}');
        return;
      }
      const token = sign(ask, known, grants, signer);
      response.writeHead(200, { "content-type": "application/json" });
      response.end(
        JSON.stringify({ token, access_token: token, expires_in: grants.expiresIn ?? 300 }),
      );
    };
    answer().catch((error: unknown) => {
      response.writeHead(400);
      response.end(String(error));
    });
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  const address = server.address();
  if (typeof address !== "object" || address === null) throw new Error("no address");
  const url = `http://127.0.0.1:${address.port}/token`;
  return {
    url,
    asked,
    registryConfig: {
      realm: url,
      service: SERVICE,
      issuer: ISSUER,
      rootcertbundle: signer.certificateFile,
    },
    async [Symbol.asyncDispose](): Promise<void> {
      server.closeAllConnections();
      await new Promise<void>((resolve) => server.close(() => resolve()));
    },
  };
}

interface Ask {
  readonly username: string | undefined;
  readonly password: string | undefined;
  readonly scopes: readonly string[];
}

async function readAsk(request: IncomingMessage): Promise<Ask> {
  const chunks: Buffer[] = [];
  for await (const chunk of request) chunks.push(Buffer.from(chunk));
  const url = new URL(request.url ?? "/", "http://token");
  if (request.method === "POST") {
    const form = new URLSearchParams(Buffer.concat(chunks).toString());
    return {
      username: form.get("username") ?? "",
      password: form.get("password") ?? "",
      scopes: scopesOf(form.getAll("scope")),
    };
  }
  const basic = /^Basic (.+)$/i.exec(request.headers.authorization ?? "")?.[1];
  const [username, ...rest] =
    basic === undefined ? [] : Buffer.from(basic, "base64").toString().split(":");
  return {
    username,
    password: basic === undefined ? undefined : rest.join(":"),
    scopes: scopesOf(url.searchParams.getAll("scope")),
  };
}

function scopesOf(values: readonly string[]): readonly string[] {
  return values.flatMap((value) => value.split(" ")).filter((scope) => scope !== "");
}

function sign(ask: Ask, known: boolean, grants: Grants, signer: Signer): string {
  const now = Math.floor(Date.now() / SECONDS);
  const access = ask.scopes.flatMap((scope) => {
    const match = /^(\w+):(.+):([a-z*,]+)$/.exec(scope);
    const [, type, name = "", actions = ""] = match ?? [];
    if (type === undefined || grants.denied?.includes(name) === true) return [];
    const allowed = actions.split(",").filter((action) => known || action === "pull");
    return [{ type, name, actions: allowed }];
  });
  const header = {
    typ: "JWT",
    alg: "RS256",
    x5c: [signer.certificateDer.toString("base64")],
  };
  const claims = {
    iss: ISSUER,
    sub: ask.username ?? "",
    aud: SERVICE,
    iat: now,
    nbf: now - 10,
    exp: now + (grants.expiresIn ?? 300),
    jti: randomUUID(),
    access,
  };
  const body = [header, claims].map((p) => Buffer.from(JSON.stringify(p)).toString("base64url"));
  const signature = createSign("RSA-SHA256").update(body.join(".")).sign(signer.privateKeyPem);
  return `${body.join(".")}.${signature.toString("base64url")}`;
}

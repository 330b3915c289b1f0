/** Debian's docker-registry as the tests need it: plain, over TLS, with a password, with Bearer tokens. Loopback only. */
import { spawn, type ChildProcess } from "node:child_process";
import { randomBytes, X509Certificate } from "node:crypto";
import { createWriteStream } from "node:fs";
import { mkdir, mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { createServer } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { startTokenServer, type Grants, type TokenServer } from "./services-token.js";
import { eventually, findTool, mustRun } from "./tools.js";

export interface Account {
  readonly username: string;
  readonly password: string;
}

export interface RegistryOptions {
  /** Serve https with a certificate of a CA made for this registry; its file is `caFile`. */
  readonly tls?: boolean;
  /** With `tls`: only who shows a certificate of the authority in this PEM file is answered. */
  readonly clientAuthority?: string;
  /** Ask for this password by Basic authentication (htpasswd, bcrypt). */
  readonly htpasswd?: Account;
  /** Ask for Bearer tokens of a token server of ours. */
  readonly token?: Grants;
  /** Names for the certificate besides 127.0.0.1 and localhost. */
  readonly names?: readonly string[];
  /** The port; a free one when absent. */
  readonly port?: number;
}

export interface RegistryService extends AsyncDisposable {
  /** `127.0.0.1:<port>`: what a reference begins with. */
  readonly host: string;
  /** `http://…` or `https://…`, without a slash at the end. */
  readonly url: string;
  /** The directory with the blobs, each as `<2 hex>/<64 hex>/data`. */
  readonly blobs: string;
  /** The CA's certificate in PEM, for a registry with TLS. */
  readonly caFile: string | undefined;
  /** What skopeo needs to talk to it, for the side that it is. */
  skopeoFlags(side: "src" | "dest" | "inspect"): readonly string[];
  /** Writes a DOCKER_CONFIG directory that holds the account, and answers its path. */
  dockerConfig(account: Account): Promise<string>;
  /** The lines of the access log so far: method, path, status. */
  requests(): Promise<readonly string[]>;
  /** Stops answering, as a crashed registry does. Idempotent. */
  stop(): Promise<void>;
}

/** A port that nothing listened on a moment ago. */
export function freePort(): Promise<number> {
  return new Promise((resolve, reject) => {
    const server = createServer();
    server.once("error", reject);
    server.listen(0, "127.0.0.1", () => {
      const address = server.address();
      const port = typeof address === "object" && address !== null ? address.port : 0;
      server.close(() => resolve(port));
    });
  });
}

/** A registry's files, ready to be served by `docker-registry serve <config>`. */
export interface PreparedRegistry extends AsyncDisposable {
  readonly dir: string;
  readonly config: string;
  readonly port: number;
  readonly caFile: string | undefined;
}

/** Writes certificate, passwords and configuration; removes them, and what was pushed, when disposed. */
export async function prepareRegistry(options: RegistryOptions = {}): Promise<PreparedRegistry> {
  const dir = await mkdtemp(join(tmpdir(), "tsbuild-registry-"));
  const tls = options.tls === true ? await makeCertificate(dir, options.names ?? []) : undefined;
  const tokens = options.token === undefined ? undefined : await startTokens(dir, options.token);
  const port = options.port ?? (await freePort());
  const config = await writeConfig(dir, port, options, tls, tokens);
  return {
    dir,
    config,
    port,
    caFile: tls?.ca,
    async [Symbol.asyncDispose](): Promise<void> {
      await tokens?.[Symbol.asyncDispose]();
      await rm(dir, { recursive: true, force: true });
    },
  };
}

/** Times that another process may have taken the port meanwhile. */
const PORTS_TRIED = 5;

/** Starts a registry with an empty store; it is stopped, and its store removed, when disposed. */
export async function startRegistry(options: RegistryOptions = {}): Promise<RegistryService> {
  for (let tried = 1; ; tried++) {
    try {
      return await startOnce(options);
    } catch (error) {
      if (tried === PORTS_TRIED || !String(error).includes("address already in use")) throw error;
    }
  }
}

async function startOnce(options: RegistryOptions): Promise<RegistryService> {
  const prepared = await prepareRegistry(options);
  const log = join(prepared.dir, "log");
  const child = spawnRegistry(prepared.config, log);
  try {
    await untilListening(child, prepared.port, log);
    return describeService(prepared, child, log);
  } catch (error) {
    await stopChild(child);
    await prepared[Symbol.asyncDispose]();
    throw error;
  }
}

function spawnRegistry(config: string, log: string): ChildProcess {
  const program = findTool("docker-registry");
  const setpriv = findTool("setpriv");
  if (program === undefined) throw new Error("docker-registry is not installed");
  const serve = [program, "serve", config];
  // The parent's death takes the registry along: a killed test run leaves none behind.
  const argv = setpriv === undefined ? serve : [setpriv, "--pdeathsig", "KILL", ...serve];
  const [command = program, ...args] = argv;
  const child = spawn(command, args, {
    stdio: ["ignore", "pipe", "pipe"],
    env: { PATH: process.env["PATH"], OTEL_TRACES_EXPORTER: "none" },
  });
  const sink = createWriteStream(log);
  child.stdout.pipe(sink, { end: false });
  child.stderr.pipe(sink, { end: false });
  child.once("close", () => sink.end());
  return child;
}

async function untilListening(child: ChildProcess, port: number, log: string): Promise<void> {
  await eventually(`a registry on port ${port}`, async () => {
    if (child.exitCode !== null) throw new Error(`registry ended: ${await readFile(log, "utf8")}`);
    return (await canConnect(port)) ? true : undefined;
  });
}

async function canConnect(port: number): Promise<boolean> {
  const { connect } = await import("node:net");
  return new Promise((resolve) => {
    const socket = connect(port, "127.0.0.1");
    const answer = (open: boolean): void => {
      socket.destroy();
      resolve(open);
    };
    socket.once("connect", () => answer(true));
    socket.once("error", () => answer(false));
  });
}

function describeService(
  prepared: PreparedRegistry,
  child: ChildProcess,
  log: string,
): RegistryService {
  const { dir, port, caFile } = prepared;
  const scheme = caFile === undefined ? "http" : "https";
  const host = `127.0.0.1:${port}`;
  const stop = (): Promise<void> => stopChild(child);
  return {
    host,
    url: `${scheme}://${host}`,
    blobs: join(dir, "store/docker/registry/v2/blobs/sha256"),
    caFile,
    skopeoFlags: (side) => [
      side === "inspect" ? "--tls-verify=false" : `--${side}-tls-verify=false`,
    ],
    dockerConfig: async (account) => writeDockerConfig(join(dir, "docker"), host, account),
    async requests(): Promise<readonly string[]> {
      const lines = (await readFile(log, "utf8")).split("\n");
      return lines.flatMap((line) => {
        const match = /"(GET|HEAD|PUT|POST|PATCH|DELETE) (\S+) HTTP\/[\d.]+" (\d+)/.exec(line);
        return match === null ? [] : [`${match[1]} ${match[2]} ${match[3]}`];
      });
    },
    stop,
    async [Symbol.asyncDispose](): Promise<void> {
      await stop();
      await prepared[Symbol.asyncDispose]();
    },
  };
}

/** Stops a child of ours by its pid: politely, and after two seconds by force. */
export async function stopChild(child: ChildProcess): Promise<void> {
  if (child.exitCode !== null || child.signalCode !== null) return;
  const ended = new Promise<void>((resolve) => child.once("close", () => resolve()));
  child.kill("SIGTERM");
  const force = setTimeout(() => child.kill("SIGKILL"), 2_000);
  await ended;
  clearTimeout(force);
}

/** Writes `config.json` with a login for `host` into `dir`, as `docker login` does, and answers `dir`. */
export async function writeDockerConfig(
  dir: string,
  host: string,
  account: Account,
): Promise<string> {
  const auth = Buffer.from(`${account.username}:${account.password}`).toString("base64");
  await mkdir(dir, { recursive: true });
  await writeFile(join(dir, "config.json"), JSON.stringify({ auths: { [host]: { auth } } }));
  return dir;
}

async function writeConfig(
  dir: string,
  port: number,
  options: RegistryOptions,
  tls: Certificate | undefined,
  tokens: TokenServer | undefined,
): Promise<string> {
  const config = {
    version: "0.1",
    log: { level: "error", accesslog: { disabled: false } },
    storage: {
      filesystem: { rootdirectory: join(dir, "store") },
      delete: { enabled: true },
      maintenance: { uploadpurging: { enabled: false } },
    },
    http: {
      addr: `127.0.0.1:${port}`,
      secret: randomBytes(16).toString("hex"),
      ...(tls === undefined ? {} : { tls: tlsSection(tls, options.clientAuthority) }),
    },
    ...(options.htpasswd === undefined
      ? {}
      : { auth: { htpasswd: await writeHtpasswd(dir, options.htpasswd) } }),
    ...(tokens === undefined ? {} : { auth: { token: tokens.registryConfig } }),
  };
  const path = join(dir, "config.yml"); // YAML reads JSON
  await writeFile(path, JSON.stringify(config));
  return path;
}

function tlsSection({ certificate, key }: Certificate, clients: string | undefined): object {
  return { certificate, key, ...(clients === undefined ? {} : { clientcas: [clients] }) };
}

async function writeHtpasswd(dir: string, account: Account): Promise<Record<string, string>> {
  const path = join(dir, "htpasswd");
  await writeFile(
    path,
    await mustRun("htpasswd", ["-niB", "-C", "4", account.username], { input: account.password }),
  );
  return { realm: "tsbuild tests", path };
}

async function startTokens(dir: string, grants: Grants): Promise<TokenServer> {
  const signer = await makeSelfSigned(join(dir, "signer"), "tsbuild-test-tokens");
  const der = new X509Certificate(await readFile(signer.certificate)).raw;
  return startTokenServer(grants, {
    certificateFile: signer.certificate,
    certificateDer: der,
    privateKeyPem: await readFile(signer.key, "utf8"),
  });
}

interface Certificate {
  readonly certificate: string;
  readonly key: string;
  readonly ca: string;
}

const EC_KEY = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"] as const;

/** Makes a CA and a server certificate of it for 127.0.0.1, localhost and `names`, in files under `dir`. */
export async function makeCertificate(dir: string, names: readonly string[]): Promise<Certificate> {
  const ca = join(dir, "ca.crt");
  const caKey = join(dir, "ca.key");
  const certificate = join(dir, "server.crt");
  const key = join(dir, "server.key");
  const alternatives = ["IP:127.0.0.1", "DNS:localhost", ...names.map((name) => `DNS:${name}`)];
  const subject = ["-days", "2", "-subj"];
  await mustRun("openssl", [
    "req",
    "-x509",
    ...EC_KEY,
    "-keyout",
    caKey,
    "-out",
    ca,
    ...subject,
    "/CN=tsbuild test CA",
  ]);
  await mustRun("openssl", [
    "req",
    "-x509",
    ...EC_KEY,
    "-keyout",
    key,
    "-out",
    certificate,
    "-CA",
    ca,
    "-CAkey",
    caKey,
    ...subject,
    "/CN=tsbuild test registry",
    "-addext",
    `subjectAltName=${alternatives.join(",")}`,
    "-addext",
    "basicConstraints=critical,CA:FALSE",
  ]);
  return { certificate, key, ca };
}

async function makeSelfSigned(
  prefix: string,
  name: string,
): Promise<{ readonly certificate: string; readonly key: string }> {
  const certificate = `${prefix}.crt`;
  const key = `${prefix}.key`;
  await mustRun("openssl", [
    "req",
    "-x509",
    "-newkey",
    "rsa:2048",
    "-nodes",
    "-keyout",
    key,
    "-out",
    certificate,
    "-days",
    "2",
    "-subj",
    `/CN=${name}`,
  ]);
  return { certificate, key };
}

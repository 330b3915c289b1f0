import { once } from "node:events";
import { closeSync, constants, openSync } from "node:fs";
import { chmod, chown, mkdir, rm, stat } from "node:fs/promises";
import { connect, createServer, type Server, type Socket } from "node:net";
import { basename, dirname } from "node:path";
import { answerRequest, isAllowed, MAX_MESSAGE, REFUSAL } from "./agent.js";
import type { PrivateKey } from "./private-key.js";
import { wireString } from "./wire.js";

/** Linux's O_PATH, which Node has no name for. */
const O_PATH = 0o10000000;
/** Each costs one or two descriptors; ssh opens one or two. */
const MAX_CONNECTIONS = 256;
/** How long another agent may take to let us in, as in BuildKit. */
const CONNECT_TIMEOUT_MS = 2_000;

/** What stands behind an agent's socket. */
export type AgentBackend =
  | { readonly kind: "keys"; readonly keys: readonly PrivateKey[] }
  /** Another agent, which is asked for keys and signatures alone. */
  | { readonly kind: "agent"; readonly path: string };

/** An agent that listens. Disposing closes it and every connection, and removes its directory. */
export interface AgentServer extends AsyncDisposable {
  /** For this user alone. */
  readonly path: string;
}

/** Answers requests at a socket in `directory`, which is made. @throws Error as the file system says */
export async function serveAgent(backend: AgentBackend, directory: string): Promise<AgentServer> {
  await mkdir(directory, { mode: 0o700 });
  const path = `${directory}/agent`;
  const open = new Set<Socket>();
  // Node removes the socket by this name when it closes the server: until then the name has to lead there.
  const short = shortName(path);
  const server = createServer({ allowHalfOpen: true }, (socket) => {
    void converse(socket, backend, open);
  });
  server.maxConnections = MAX_CONNECTIONS;
  const dispose = async (): Promise<void> => {
    for (const each of open) each.destroy();
    if (server.listening) await new Promise((resolve) => server.close(resolve));
    short[Symbol.dispose]();
    await rm(directory, { recursive: true, force: true });
  };
  try {
    await listen(server, short.path);
    await chmod(path, 0o600);
    await giveTo(dirname(directory), [path, directory]);
  } catch (error) {
    await dispose();
    throw error;
  }
  return { path, [Symbol.asyncDispose]: dispose };
}

/** The staging directory's owner, who is root in the steps' namespace, may be another user than we are. */
async function giveTo(staging: string, paths: readonly string[]): Promise<void> {
  const { uid, gid } = await stat(staging);
  if (uid === process.geteuid?.()) return;
  for (const path of paths) await chown(path, uid, gid);
}

async function listen(server: Server, path: string): Promise<void> {
  server.listen({ path });
  await once(server, "listening");
  // A connection that cannot be taken is the step's to notice.
  server.on("error", () => undefined);
}

/** A socket's address holds 107 bytes: it is named by the directory that it is in. */
function shortName(path: string): Disposable & { readonly path: string } {
  const fd = openSync(dirname(path), O_PATH | constants.O_DIRECTORY);
  return {
    path: `/proc/self/fd/${fd}/${basename(path)}`,
    [Symbol.dispose]: () => closeSync(fd),
  };
}

/** Answers one request after the other until either end hangs up. Never rejects. */
async function converse(socket: Socket, backend: AgentBackend, open: Set<Socket>): Promise<void> {
  const held: Socket[] = [socket];
  open.add(socket);
  socket.on("error", () => undefined);
  try {
    const answer = await answererOf(backend, held, open);
    for await (const request of messages(socket)) {
      const reply = wireString(await answer(request));
      // Whoever asks on without reading waits here.
      await new Promise((resolve) => socket.write(reply, resolve));
    }
  } catch {
    // Neither end can be told why: to both, the other one hung up.
  } finally {
    for (const each of held) {
      each.destroy();
      open.delete(each);
    }
  }
}

type Answerer = (request: Uint8Array) => Buffer | Promise<Buffer>;

async function answererOf(
  backend: AgentBackend,
  held: Socket[],
  open: Set<Socket>,
): Promise<Answerer> {
  if (backend.kind === "keys") return (request) => answerRequest(request, backend.keys);
  const far = await dial(backend.path);
  held.push(far);
  open.add(far);
  const answers = messages(far);
  return async (request) => {
    if (!isAllowed(request)) return REFUSAL;
    far.write(wireString(request));
    const { value, done } = await answers.next();
    if (done === true) throw new Error("the agent hung up");
    return value;
  };
}

async function dial(path: string): Promise<Socket> {
  using short = shortName(path);
  const socket = connect({ path: short.path });
  socket.on("error", () => undefined);
  try {
    await once(socket, "connect", { signal: AbortSignal.timeout(CONNECT_TIMEOUT_MS) });
    return socket;
  } catch (error) {
    socket.destroy();
    throw error;
  }
}

/** Messages without the length before each. @throws Error for one that is too long, or as the socket says */
async function* messages(socket: Socket): AsyncGenerator<Buffer, undefined> {
  let waiting: Buffer = Buffer.alloc(0);
  for await (const chunk of socket as AsyncIterable<Buffer>) {
    waiting = waiting.length === 0 ? chunk : Buffer.concat([waiting, chunk]);
    while (waiting.length >= 4) {
      const length = waiting.readUInt32BE(0);
      if (length > MAX_MESSAGE) throw new Error("the message is too long");
      if (waiting.length < 4 + length) break;
      const message = waiting.subarray(4, 4 + length);
      waiting = waiting.subarray(4 + length);
      yield message;
    }
  }
  return undefined;
}

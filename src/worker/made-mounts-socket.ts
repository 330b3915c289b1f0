import { chmodSync, closeSync, constants, mkdirSync, openSync, statSync } from "node:fs";
import { connect, createServer, type Server, type Socket } from "node:net";
import { basename, dirname } from "node:path/posix";
import { messageOf, TsbuildError } from "../errors.js";
import { chownMapped } from "./made-mounts-owner.js";
import { removeTreeSync } from "./root-remove.js";
import { O_PATH } from "./sandbox/inside.js";
import type { MadeMount } from "./types.js";

/** Each costs two descriptors of the worker; ssh opens one or two. */
const MAX_CONNECTIONS = 256;

export interface SocketTools {
  stagingPath(suffix: string): string;
  readonly singleId: boolean;
}

/** A socket that hands every connection on. Disposing closes it and what was connected. */
export interface SocketMount extends AsyncDisposable {
  readonly path: string;
}

/** @throws TsbuildError USAGE when there is no socket to hand on to */
export async function openSocketMount(
  mount: Extract<MadeMount, { kind: "socket" }>,
  tools: SocketTools,
): Promise<SocketMount> {
  if (statSync(mount.path, { throwIfNoEntry: false })?.isSocket() !== true) {
    throw new TsbuildError("USAGE", `tried to mount ${mount.target}: ${mount.path} is no socket`);
  }
  const directory = tools.stagingPath(".socket");
  mkdirSync(directory, { mode: 0o700 });
  const path = `${directory}/socket`;
  // A socket's address holds 107 bytes: both are named by the directory that they are in.
  const here = openDirectory(path);
  const there = openDirectory(mount.path);
  const open = new Set<Socket>();
  const server = createServer({ allowHalfOpen: true, pauseOnConnect: true }, (near) =>
    handOn(near, there.path, open),
  );
  server.maxConnections = MAX_CONNECTIONS;
  const dispose = async (): Promise<void> => {
    for (const each of open) each.destroy();
    await close(server);
    here[Symbol.dispose]();
    there[Symbol.dispose]();
    removeTreeSync(directory);
  };
  try {
    await listen(server, here.path);
    chownMapped(path, mount, tools.singleId);
    chmodSync(path, mount.mode);
  } catch (error) {
    await dispose();
    if (error instanceof TsbuildError) throw error;
    const message = `tried to mount ${mount.target}: ${messageOf(error)}`;
    throw new TsbuildError("RUN_FAILED", message, { cause: error });
  }
  return { path, [Symbol.asyncDispose]: dispose };
}

/** `path` by a short name, while this is open. */
function openDirectory(path: string): Disposable & { readonly path: string } {
  const fd = openSync(dirname(path), O_PATH | constants.O_DIRECTORY);
  return {
    path: `/proc/self/fd/${fd}/${basename(path)}`,
    [Symbol.dispose]: () => closeSync(fd),
  };
}

function handOn(near: Socket, path: string, open: Set<Socket>): void {
  const far = connect({ path, allowHalfOpen: true });
  const end = (): void => {
    for (const each of [near, far]) {
      each.destroy();
      open.delete(each);
    }
  };
  for (const each of [near, far]) {
    open.add(each);
    // Neither can be told why: to both, the other one hung up.
    each.on("error", end);
  }
  const leave = (): void => {
    if (near.closed && far.closed) end();
  };
  near.once("close", leave);
  far.once("close", leave);
  near.pipe(far);
  far.pipe(near);
}

function listen(server: Server, path: string): Promise<void> {
  return new Promise((resolve, reject) => {
    server.once("error", reject);
    server.listen({ path }, () => {
      server.off("error", reject);
      // A connection that cannot be taken is the step's to notice.
      server.on("error", () => undefined);
      resolve();
    });
  });
}

function close(server: Server): Promise<void> {
  return new Promise((resolve) => {
    server.close(() => resolve());
  });
}

import { write } from "node:fs";
import {
  type FileHandle,
  chmod,
  copyFile,
  mkdir,
  open,
  realpath,
  rename,
  rm,
  stat,
} from "node:fs/promises";
import { dirname } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { promisify } from "node:util";
import { TsbuildError, errnoOf } from "../errors.js";
import { removeAbandonedSiblings, temporarySibling } from "../internal/atomic-file.js";
import { failure } from "./failure.js";
import { writeFully } from "./hashed-file.js";

/** A file that is being written for the user. Disposing without `commit` leaves what was there before, where that is possible. */
export interface OutputFile extends AsyncDisposable {
  write(chunk: Uint8Array): Promise<void>;
  /** Makes the file visible under its name. */
  commit(): Promise<void>;
}

/** A pipe that is full and does not block is tried again after this time. */
const PIPE_RETRY_MS = 5;
/** What a rename says over a file that is a mount of its own, or in a directory that may not be written. */
const CANNOT_REPLACE: ReadonlySet<string> = new Set(["EBUSY", "EXDEV", "EACCES", "EPERM", "EROFS"]);

const writeTo = promisify(write);

/** Of the names of this process's own descriptors: opening those would truncate a redirected file, and fails for sockets. */
function ownDescriptor(path: string): number | undefined {
  const named = { "/dev/stdin": 0, "/dev/stdout": 1, "/dev/stderr": 2 }[path];
  if (named !== undefined) return named;
  const digits = /^\/(?:dev\/fd|proc\/self\/fd)\/(\d+)$/.exec(path)?.[1];
  return digits === undefined ? undefined : Number(digits);
}

function descriptorOutput(descriptor: number): OutputFile {
  return {
    async write(chunk) {
      for (let done = 0; done < chunk.byteLength;) {
        try {
          done += (await writeTo(descriptor, chunk, done)).bytesWritten;
        } catch (error) {
          if (errnoOf(error) !== "EAGAIN") throw error;
          await sleep(PIPE_RETRY_MS);
        }
      }
    },
    commit: async () => {},
    [Symbol.asyncDispose]: async () => {},
  };
}

async function directOutput(path: string): Promise<OutputFile> {
  const handle = await open(path, "w");
  return {
    write: (chunk) => writeFully(handle, chunk),
    commit: async () => {},
    [Symbol.asyncDispose]: () => handle.close(),
  };
}

/** Over what is there: by rename, or byte by byte where the name itself cannot be given to another file. */
async function moveOver(temporary: string, path: string, mode: number | undefined): Promise<void> {
  if (mode !== undefined) await chmod(temporary, mode);
  try {
    await rename(temporary, path);
  } catch (error) {
    if (mode === undefined || !CANNOT_REPLACE.has(errnoOf(error) ?? "")) throw error;
    await copyFile(temporary, path);
    await rm(temporary, { force: true });
  }
}

async function replacingOutput(path: string, mode: number | undefined): Promise<OutputFile> {
  await removeAbandonedSiblings(path);
  const temporary = temporarySibling(path);
  let handle: FileHandle | undefined;
  try {
    handle = await open(temporary, "wx", 0o644);
  } catch (error) {
    if (mode === undefined || !CANNOT_REPLACE.has(errnoOf(error) ?? "")) throw error;
    return directOutput(path);
  }
  const opened = handle;
  const close = async (): Promise<void> => {
    await handle?.close();
    handle = undefined;
  };
  return {
    write: (chunk) => writeFully(opened, chunk),
    async commit() {
      await close();
      await moveOver(temporary, path, mode);
    },
    async [Symbol.asyncDispose]() {
      await close();
      await rm(temporary, { force: true }).catch(() => undefined);
    },
  };
}

async function openOutput(path: string): Promise<OutputFile> {
  const descriptor = ownDescriptor(path);
  if (descriptor !== undefined) return descriptorOutput(descriptor);
  await mkdir(dirname(path), { recursive: true });
  let real: string;
  try {
    real = await realpath(path);
  } catch (error) {
    if (errnoOf(error) !== "ENOENT") throw error;
    return replacingOutput(path, undefined);
  }
  const found = await stat(real);
  if (found.isDirectory()) {
    throw new TsbuildError("STORE_FAILED", `tried to write ${path}: it is a directory`, {
      hint: "name a file in it",
    });
  }
  // Pipes, terminals and devices are written to, never replaced.
  return found.isFile() ? replacingOutput(real, found.mode & 0o7777) : directOutput(real);
}

/**
 * Opens a file that the user asked for. Missing directories are made; a regular file appears whole or not at all;
 * symlinks stay; pipes, devices and /dev/stdout are written to directly, and so is a file that cannot be replaced (a
 * mount of its own, as /dev/termination-log is in a Pod).
 * @param what as errors name it: "the digest file"
 * @throws TsbuildError STORE_FAILED
 */
export async function openOutputFile(path: string, what: string): Promise<OutputFile> {
  const guarded = async <T>(work: () => Promise<T>): Promise<T> => {
    try {
      return await work();
    } catch (error) {
      throw failure(`write ${what}`, path, error);
    }
  };
  const output = await guarded(() => openOutput(path));
  return {
    write: (chunk) => guarded(() => output.write(chunk)),
    commit: () => guarded(() => output.commit()),
    [Symbol.asyncDispose]: () => output[Symbol.asyncDispose](),
  };
}

/** Writes a small file for the user, as {@link openOutputFile} does. @throws TsbuildError STORE_FAILED */
export async function writeTextFile(
  path: string,
  text: string,
  what = "a result file",
): Promise<void> {
  await using output = await openOutputFile(path, what);
  await output.write(new TextEncoder().encode(text));
  await output.commit();
}

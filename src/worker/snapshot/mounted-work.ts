import { closeSync, constants, ftruncateSync, openSync, writeSync } from "node:fs";
import { messageOf, TsbuildError } from "../../errors.js";
import { diskFullHint } from "../../internal/disk-full.js";
import type { Hashing } from "../../internal/hashing.js";
import {
  indexLayer,
  isZero,
  openIndexFile,
  openIndexPages,
  writeImage,
} from "../../layer/index.js";
import type { UnpackResult } from "../../layer/types.js";
import type { FileCalls } from "../linux/files.js";
import { openBlob } from "../open-blob.js";
import { diskXattrName, IMPLIED_ROOT, OPAQUE, OPAQUE_VALUE } from "../root-xattrs.js";
import { directoriesBelow } from "./implied.js";
import type { CopyJob, ImageJob, ImageMade } from "./mounted-jobs.js";

/** Bytes. Fewer zeros are written: a hole takes a call and breaks a file into pieces. */
const LEAST_HOLE = 8 * 1024;
/** Bytes. It is read from its beginning to its end: what lies in memory as a whole would only be garbage afterwards. */
const INDEX_MEMORY = { whole: 1024 * 1024, paged: 1024 * 1024 };
const NEW_FILE = constants.O_RDWR | constants.O_CREAT | constants.O_EXCL;

/** Throws when the bytes are not the layer: what it has written by then is the caller's to delete. */
export async function copyTar(
  job: CopyJob,
  hashing: Hashing,
  signal: AbortSignal,
): Promise<UnpackResult> {
  const { layer, tarFile, indexFile } = job;
  using hash = hashing.sha256();
  using blob = openBlob(layer);
  using tar = tarFile === undefined ? undefined : openTar(tarFile);
  const indexed = await indexLayer(blob.source(signal), {
    compression: layer.compression,
    diffId: layer.diffId,
    index: indexFile,
    hash,
    ...(tar === undefined ? {} : { copy: tar.write }),
    signal,
  });
  tar?.finish();
  return indexed;
}

interface TarFile extends Disposable {
  readonly write: (chunk: Uint8Array) => void;
  readonly finish: () => void;
}

function openTar(path: string): TarFile {
  const fd = attempt(path, () => openSync(path, NEW_FILE, 0o600));
  let at = 0;
  return {
    write(chunk) {
      const isHole = chunk.length >= LEAST_HOLE && isZero(chunk);
      for (let done = isHole ? chunk.length : 0; done < chunk.length;) {
        done += attempt(path, () => writeSync(fd, chunk, done, chunk.length - done, at + done));
      }
      at += chunk.length;
    },
    finish: () => attempt(path, () => ftruncateSync(fd, at)),
    [Symbol.dispose]: () => closeSync(fd),
  };
}

/** The layer as a lower directory of overlay mounts, with the marks that unpacking would leave in one. */
export async function makeImage(
  calls: FileCalls,
  job: ImageJob,
  signal: AbortSignal,
): Promise<ImageMade> {
  const { indexFile, tarSize, imageFile, name } = job;
  const index = openIndexFile(indexFile, openIndexPages(INDEX_MEMORY));
  const implied = directoriesBelow(calls, job);
  const fd = attempt(imageFile, () => openSync(imageFile, NEW_FILE, 0o600));
  try {
    const made = await writeImage(index, fd, {
      tarSize,
      name,
      xattrName: diskXattrName,
      opaque: [OPAQUE, OPAQUE_VALUE],
      impliedRoot: [IMPLIED_ROOT, OPAQUE_VALUE],
      implied,
      signal,
    });
    return made.kind === "refused"
      ? { refused: made.because, skipped: [] }
      : { skipped: made.skipped };
  } finally {
    closeSync(fd);
  }
}

function attempt<T>(path: string, work: () => T): T {
  try {
    return work();
  } catch (error) {
    throw new TsbuildError("STORE_FAILED", `tried to write ${path}: ${messageOf(error)}`, {
      cause: error,
      ...diskFullHint(error),
    });
  }
}

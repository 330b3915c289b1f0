import { closeSync, constants, openSync } from "node:fs";
import { stat } from "node:fs/promises";
import { errnoOf, messageOf, TsbuildError } from "../errors.js";
import { followFd, type LayerSource } from "../layer/index.js";
import type { LayerBlob } from "./types.js";

/** A layer's blob that is open. */
export interface OpenBlob extends Disposable {
  /** Its bytes from the beginning. Of one that is still coming, as they come. */
  source(signal: AbortSignal): LayerSource;
}

/** A layer's blob, to be read. @throws TsbuildError STORE_FAILED */
export function openBlob({ path, coming }: LayerBlob): OpenBlob {
  const early = coming === undefined ? undefined : openComing(coming.path);
  const fd = early ?? openPath(path);
  return {
    source: (signal) =>
      early === undefined || coming === undefined ? fd : followFd(fd, coming.size, signal),
    [Symbol.dispose]: () => closeSync(fd),
  };
}

/** `undefined`: it is whole by now, and has its own name. */
function openComing(path: string): number | undefined {
  try {
    return openPath(path);
  } catch (error) {
    if (error instanceof TsbuildError && errnoOf(error.cause) === "ENOENT") return undefined;
    throw error;
  }
}

function openPath(path: string): number {
  try {
    return openSync(path, constants.O_RDONLY);
  } catch (error) {
    throw new TsbuildError("STORE_FAILED", `tried to open ${path}: ${messageOf(error)}`, {
      cause: error,
    });
  }
}

/** Bytes of the blob. Of one that is not there none: whoever opens it says what is wrong. */
export async function sizeOf({ path, coming }: LayerBlob): Promise<number> {
  if (coming !== undefined) return coming.size;
  return stat(path).then(
    ({ size }) => size,
    () => 0,
  );
}

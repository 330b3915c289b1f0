import { constants, openSync } from "node:fs";
import { messageOf, TsbuildError } from "../errors.js";

/** A layer's blob, to be read; the caller closes it. @throws TsbuildError STORE_FAILED */
export function openBlob(path: string): number {
  try {
    return openSync(path, constants.O_RDONLY);
  } catch (error) {
    throw new TsbuildError("STORE_FAILED", `tried to open ${path}: ${messageOf(error)}`, {
      cause: error,
    });
  }
}

import { mkdir, readFile, rename, stat, utimes, writeFile } from "node:fs/promises";
import { dirname, join } from "node:path";
import { errnoOf, TsbuildError } from "../errors.js";
import { storeFailure } from "./failure.js";
import type { Records } from "./types.js";

const KEY = /^[0-9a-f]{64}$/;
/** Directories of as many keys as begin alike. */
const SHARD = 2;

/** @param stagingPath a new name on the same filesystem, deleted when the build is gone */
export function createRecords(directory: string, stagingPath: (suffix: string) => string): Records {
  const pathOf = (key: string): string => {
    if (!KEY.test(key)) throw new TsbuildError("INTERNAL", `tried to name a record "${key}"`);
    return join(directory, key.slice(0, SHARD), key);
  };
  return {
    async find(key) {
      const path = pathOf(key);
      let text: string;
      try {
        text = await readFile(path, "utf8");
      } catch (error) {
        if (errnoOf(error) === "ENOENT") return undefined;
        throw storeFailure("read a record", path, error);
      }
      const now = new Date();
      // For whoever clears away what was not used for long. On a store that is read only, nobody does.
      await utimes(path, now, now).catch(() => undefined);
      try {
        return JSON.parse(text) as unknown;
      } catch {
        return undefined;
      }
    },
    async put(key, value) {
      const path = pathOf(key);
      const temporary = stagingPath(".record");
      try {
        await writeFile(temporary, `${JSON.stringify(value)}\n`, { flag: "wx", mode: 0o600 });
        await mkdir(dirname(path), { recursive: true, mode: 0o700 });
        await rename(temporary, path);
      } catch (error) {
        throw storeFailure("keep a record", path, error);
      }
    },
    async isEmpty() {
      try {
        await stat(directory);
        return false;
      } catch (error) {
        return errnoOf(error) === "ENOENT";
      }
    },
  };
}

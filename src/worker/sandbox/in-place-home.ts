import { lstatSync, readdirSync, type BigIntStats } from "node:fs";
import { TsbuildError } from "../../errors.js";

/** The builder's own files, to be looked at after each step. */
export interface HomeSeal {
  /** @throws TsbuildError RUN_FAILED when a file is not the one that it was */
  verify(): void;
}

/**
 * Remembers every file below `home` but those that `isOurs` says are not the program's. A file that is written to,
 * replaced, linked or renamed gets a new ctime or inode, and no program can set a ctime: that tells as surely as a hash
 * of a hundred megabytes after each step would.
 */
export function sealHome(home: string, isOurs: (path: string) => boolean): HomeSeal {
  const stamps = new Map<string, string>();
  collect(home, isOurs, (path, stats) => void stamps.set(path, stampOf(stats)));
  return {
    verify: () => {
      for (const [path, stamp] of stamps) {
        const stats = lstatSync(path, { bigint: true, throwIfNoEntry: false });
        if (stats !== undefined && stampOf(stats) === stamp) continue;
        throw new TsbuildError("RUN_FAILED", `tried to go on after a step: it changed ${path}`, {
          hint: "a step must leave tsbuild's own files alone; nothing is pushed",
        });
      }
    },
  };
}

function stampOf({ ino, dev, size, mode, uid, ctimeNs }: BigIntStats): string {
  return [ino, dev, size, mode, uid, ctimeNs].join(" ");
}

function collect(
  directory: string,
  isOurs: (path: string) => boolean,
  found: (path: string, stats: BigIntStats) => void,
): void {
  for (const entry of readdirSync(directory, { withFileTypes: true })) {
    const path = `${directory}/${entry.name}`;
    if (!isOurs(path)) continue;
    if (entry.isDirectory()) collect(path, isOurs, found);
    else if (entry.isFile() || entry.isSymbolicLink())
      found(path, lstatSync(path, { bigint: true }));
  }
}

import { createHash } from "node:crypto";
import { mkdir, readFile, rename, writeFile } from "node:fs/promises";
import { dirname, join } from "node:path";
import type { StatCache } from "./types.js";

/** Of files that were not asked for this time, as many are kept for the next. */
const MAX_UNUSED = 200_000;
const LINE = /^\d+(?::\d+){4} [0-9a-f]{64}$/;

/** @param name of the context: builds of others do not lose each other's entries */
export async function openStatCache(
  directory: string,
  name: string,
  stagingPath: (suffix: string) => string,
): Promise<StatCache> {
  const path = join(directory, createHash("sha256").update(name).digest("hex"));
  const known = parse(await readFile(path, "utf8").catch(() => ""));
  const used = new Map<string, string>();
  let isChanged = false;
  return {
    get(identity) {
      const digest = known.get(identity);
      if (digest !== undefined) used.set(identity, digest);
      return digest;
    },
    set(identity, digest) {
      isChanged = true;
      known.set(identity, digest);
      used.set(identity, digest);
    },
    async save() {
      if (!isChanged) return;
      const kept = known.size - used.size > MAX_UNUSED ? used : known;
      const text = [...kept].map(([identity, digest]) => `${identity} ${digest}\n`).join("");
      const temporary = stagingPath(".stat");
      try {
        await mkdir(dirname(path), { recursive: true, mode: 0o700 });
        await writeFile(temporary, text, { flag: "wx", mode: 0o600 });
        await rename(temporary, path);
      } catch {
        // A full disk is found by those who need it.
      }
    },
  };
}

function parse(text: string): Map<string, string> {
  const known = new Map<string, string>();
  for (const line of text.split("\n")) {
    const space = line.indexOf(" ");
    // The digits are checked once: what is not whole is from a disk that lost something.
    if (space > 0 && LINE.test(line)) known.set(line.slice(0, space), line.slice(space + 1));
  }
  return known;
}

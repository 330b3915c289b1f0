import { createHash } from "node:crypto";
import { readFileSync } from "node:fs";
import { mkdir, open, rename } from "node:fs/promises";
import { dirname, join } from "node:path";
import type { StatMemory } from "../oci/content-digest.js";
import type { StatCache } from "./types.js";

/** Of what was not asked for this time, as much is kept for the next. */
const MAX_UNUSED = 200_000;
/** Characters written at once. */
const PIECE = 64 * 1024;
const DIGEST = /^[0-9a-f]{64}$/;

/**
 * One small file for the directories of a context, and one for its files, which is read only when a directory has changed.
 * @param name of the context: builds of others do not lose each other's entries
 */
export function createStatCache(
  directory: string,
  name: string,
  stagingPath: (suffix: string) => string,
): StatCache {
  const base = join(directory, createHash("sha256").update(name).digest("hex"));
  const files = new Memory(`${base}.files`);
  const directories = new Memory(`${base}.directories`);
  return {
    files,
    directories,
    async save() {
      for (const memory of [files, directories]) await memory.save(stagingPath(".stat"));
    },
  };
}

class Memory implements StatMemory {
  readonly #path: string;
  readonly #used = new Map<string, string>();
  /** Good for this build only. */
  readonly #passing = new Set<string>();
  #known: Map<string, string> | undefined;
  #isChanged = false;

  constructor(path: string) {
    this.#path = path;
  }

  get(state: string): string | undefined {
    this.#known ??= readLines(this.#path);
    const digest = this.#known.get(state);
    if (digest === undefined || !DIGEST.test(digest)) return undefined;
    this.#used.set(state, digest);
    return digest;
  }

  set(state: string, digest: string, lasting: boolean): void {
    this.#known ??= readLines(this.#path);
    this.#known.set(state, digest);
    this.#used.set(state, digest);
    if (lasting) this.#isChanged = true;
    else this.#passing.add(state);
  }

  async save(temporary: string): Promise<void> {
    const known = this.#known;
    if (known === undefined || !this.#isChanged) return;
    const kept = known.size - this.#used.size > MAX_UNUSED ? this.#used : known;
    try {
      await mkdir(dirname(this.#path), { recursive: true, mode: 0o700 });
      await this.#write(kept, temporary);
      await rename(temporary, this.#path);
    } catch {
      // A full disk is found by those who need it.
    }
  }

  /** Piece by piece: a context may have more files than there is memory for a line of each. */
  async #write(kept: ReadonlyMap<string, string>, file: string): Promise<void> {
    await using handle = await open(file, "wx", 0o600);
    let piece = "";
    for (const [state, digest] of kept) {
      if (!this.#passing.has(state)) piece += `${state} ${digest}\n`;
      if (piece.length < PIECE) continue;
      await handle.writeFile(piece);
      piece = "";
    }
    await handle.writeFile(piece);
  }
}

function readLines(path: string): Map<string, string> {
  const known = new Map<string, string>();
  let text: string;
  try {
    text = readFileSync(path, "utf8");
  } catch {
    return known;
  }
  for (let at = 0; at < text.length;) {
    const end = text.indexOf("\n", at);
    const space = text.indexOf(" ", at);
    if (end < 0 || space < 0 || space > end) break;
    known.set(text.slice(at, space), text.slice(space + 1, end));
    at = end + 1;
  }
  return known;
}

import { createHash } from "node:crypto";
import { closeSync, fstatSync, openSync, readSync } from "node:fs";
import { mkdir, open, rename } from "node:fs/promises";
import { dirname, join } from "node:path";
import type { StatMemory } from "../oci/content-digest.js";
import { DigestTable, RECORD_SIZE } from "./digest-table.js";
import type { StatCache } from "./types.js";

/** Of what was not asked for this time, as much is kept for the next: the file for directories is read in every build. */
const MAX_UNUSED = { files: 200_000, directories: 50_000 };
/** Records in memory, and in the file: 12 MiB. Each of the two memories has as many. */
const MAX_RECORDS = 2 ** 18;
/** How the file begins; then come records, and their sha256. */
const MAGIC = Buffer.from("tsbstat1");
const SUM_SIZE = 32;
/** Bytes read at once. */
const PIECE = 4096 * RECORD_SIZE;

/**
 * One small file for the directories of a context, and one for its files, which is read only when a directory has changed.
 * Both are bounded: what finds no room is not remembered, and is read once more when it is needed.
 * @param name of the context: builds of others do not lose each other's entries
 * @param limit of records, for tests
 */
export function createStatCache(
  directory: string,
  name: string,
  stagingPath: (suffix: string) => string,
  limit: number = MAX_RECORDS,
): StatCache {
  const base = join(directory, createHash("sha256").update(name).digest("hex"));
  const files = new Memory(`${base}.files`, limit, MAX_UNUSED.files);
  const directories = new Memory(`${base}.directories`, limit, MAX_UNUSED.directories);
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
  readonly #limit: number;
  readonly #maxUnused: number;
  #table: DigestTable | undefined;
  #isChanged = false;
  /** Room was made already, and there is no more. */
  #isTight = false;

  constructor(path: string, limit: number, maxUnused: number) {
    this.#path = path;
    this.#limit = limit;
    this.#maxUnused = maxUnused;
  }

  get(state: string): string | undefined {
    this.#table ??= readTable(this.#path, this.#limit);
    return this.#table.get(state);
  }

  set(state: string, digest: string, lasting: boolean): void {
    this.#table ??= readTable(this.#path, this.#limit);
    if (this.#table.isFull && !this.#isTight) {
      this.#table.dropUnused();
      this.#isTight = true;
    }
    if (this.#table.set(state, digest, lasting) && lasting) this.#isChanged = true;
  }

  async save(temporary: string): Promise<void> {
    const table = this.#table;
    if (table === undefined || !this.#isChanged) return;
    if (table.unused > this.#maxUnused) table.dropUnused();
    try {
      await mkdir(dirname(this.#path), { recursive: true, mode: 0o700 });
      await writeTable(table, temporary);
      await rename(temporary, this.#path);
    } catch {
      // A full disk is found by those who need it.
    }
  }
}

async function writeTable(table: DigestTable, file: string): Promise<void> {
  const sum = createHash("sha256");
  await using handle = await open(file, "wx", 0o600);
  await handle.writeFile(MAGIC);
  for (const records of table.lastingRecords()) {
    sum.update(records);
    await handle.writeFile(records);
  }
  await handle.writeFile(sum.digest());
}

/** Empty where there is no file, or it is not as it was written: it was being written when the machine went down. */
function readTable(path: string, limit: number): DigestTable {
  let file: number | undefined;
  try {
    file = openSync(path, "r");
    return readRecords(file, limit) ?? new DigestTable(limit);
  } catch {
    return new DigestTable(limit);
  } finally {
    if (file !== undefined) closeSync(file);
  }
}

function readRecords(file: number, limit: number): DigestTable | undefined {
  const size = fstatSync(file).size - MAGIC.length - SUM_SIZE;
  if (size < 0 || size % RECORD_SIZE !== 0 || size > limit * RECORD_SIZE) return undefined;
  const table = new DigestTable(limit);
  const piece = Buffer.alloc(Math.min(size, PIECE) + MAGIC.length + SUM_SIZE);
  const read = (length: number): Buffer => {
    const count = readSync(file, piece, 0, length, null);
    return piece.subarray(0, count);
  };
  if (!read(MAGIC.length).equals(MAGIC)) return undefined;
  const sum = createHash("sha256");
  for (let left = size; left > 0;) {
    const records = read(Math.min(left, PIECE));
    if (records.length !== Math.min(left, PIECE)) return undefined;
    sum.update(records);
    table.addRecords(records);
    left -= records.length;
  }
  return read(SUM_SIZE).equals(sum.digest()) ? table : undefined;
}

import {
  chmodSync,
  closeSync,
  fchmodSync,
  futimesSync,
  linkSync,
  lstatSync,
  lutimesSync,
  mkdirSync,
  openSync,
  rmSync,
  symlinkSync,
  utimesSync,
  writeFileSync,
  type Stats,
} from "node:fs";

/** What of an entry is kept. */
export interface TarFacts {
  /** As the archive has it. */
  readonly name: string;
  /** 0 to 0o7777. */
  readonly mode: number;
  /** Seconds since the epoch. */
  readonly mtime: number;
}

/**
 * Puts entries of an archive below a directory that nobody else writes to. Every directory on the way to an entry is
 * looked at once: a link is none, so no write leaves the directory whatever the archive did before.
 */
export class TarPlaces {
  readonly #root: string;
  /** Real directories by path, with what they will be in the end; the root is "". */
  readonly #directories: Map<string, TarFacts | undefined> = new Map([["", undefined]]);

  constructor(root: string) {
    this.#root = root;
  }

  directory(facts: TarFacts): void {
    const path = cleanName(facts.name);
    if (path !== "" && this.#stat(path)?.isDirectory() !== true) {
      this.#clear(path);
      mkdirSync(this.#absolute(path), { mode: 0o700 });
    }
    this.#directories.set(path, facts);
  }

  async file(facts: TarFacts, content: AsyncIterable<Uint8Array>): Promise<void> {
    const path = this.#makeRoom(facts.name);
    // Small files are many, and five turns of the thread pool for each take longer than all the rest.
    const file = openSync(this.#absolute(path), "wx", 0o600);
    try {
      for await (const chunk of content) writeFileSync(file, chunk);
      fchmodSync(file, facts.mode);
      futimesSync(file, facts.mtime, facts.mtime);
    } finally {
      closeSync(file);
    }
  }

  symlink(facts: TarFacts, target: string): void {
    if (!target) throw new Error("it is a link to nothing");
    const path = this.#makeRoom(facts.name);
    symlinkSync(target, this.#absolute(path));
    lutimesSync(this.#absolute(path), facts.mtime, facts.mtime);
  }

  /** @throws Error when what it names is not a file of the archive */
  hardLink(facts: TarFacts, name: string): void {
    const target = cleanName(name);
    const found = target === "" ? undefined : this.#stat(target);
    if (found === undefined || found.isDirectory()) {
      throw new Error(`it is a link to ${JSON.stringify(name)}, which is not a file before it`);
    }
    if (target === cleanName(facts.name)) return;
    linkSync(this.#absolute(target), this.#absolute(this.#makeRoom(facts.name)));
  }

  /** Gives directories their modes and times, the deepest first: a parent's mode may forbid to reach them. */
  finish(): void {
    const paths = [...this.#directories.keys()].toSorted().toReversed();
    for (const path of paths) {
      const facts = this.#directories.get(path);
      if (facts === undefined) {
        if (path !== "") chmodSync(this.#absolute(path), 0o755);
        continue;
      }
      utimesSync(this.#absolute(path), facts.mtime, facts.mtime);
      chmodSync(this.#absolute(path), facts.mode);
    }
  }

  #absolute(path: string): string {
    return path === "" ? this.#root : `${this.#root}/${path}`;
  }

  /** A path at which nothing is any more, and whose parents are directories. */
  #makeRoom(name: string): string {
    const path = cleanName(name);
    if (path === "") throw new Error("it has no name");
    this.#clear(path);
    return path;
  }

  #clear(path: string): void {
    const found = this.#stat(path);
    if (found === undefined) return;
    rmSync(this.#absolute(path), { recursive: true });
    if (!found.isDirectory()) return;
    for (const known of this.#directories.keys()) {
      if (known === path || known.startsWith(`${path}/`)) this.#directories.delete(known);
    }
  }

  /** What is at a path, whose parents are made where they are missing. */
  #stat(path: string): Stats | undefined {
    this.#makeDirectory(parentOf(path));
    return lstatSync(this.#absolute(path), { throwIfNoEntry: false });
  }

  #makeDirectory(path: string): void {
    if (this.#directories.has(path)) return;
    this.#makeDirectory(parentOf(path));
    const found = lstatSync(this.#absolute(path), { throwIfNoEntry: false });
    if (found === undefined) mkdirSync(this.#absolute(path), { mode: 0o700 });
    else if (!found.isDirectory()) {
      const kind = found.isSymbolicLink() ? "a link" : "not a directory";
      throw new Error(`it leads through ${JSON.stringify(path)}, which is ${kind}`);
    }
    this.#directories.set(path, undefined);
  }
}

/** Relative, without `.` and `..`; the root is "". @throws Error for a name that climbs above it */
function cleanName(name: string): string {
  const parts: string[] = [];
  for (const part of name.split("/")) {
    if (part === "" || part === ".") continue;
    if (part !== "..") parts.push(part);
    else if (parts.pop() === undefined) {
      throw new Error(`${JSON.stringify(name.slice(0, 200))} climbs above the archive's top`);
    }
  }
  return parts.join("/");
}

function parentOf(path: string): string {
  return path.slice(0, Math.max(0, path.lastIndexOf("/")));
}

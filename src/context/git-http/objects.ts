import { spawn, type ChildProcessByStdio } from "node:child_process";
import { createHash, randomBytes } from "node:crypto";
import { once } from "node:events";
import { mkdir, rename, rm, writeFile } from "node:fs/promises";
import { dirname, join } from "node:path";
import type { Readable, Writable } from "node:stream";
import { pipeline } from "node:stream/promises";
import { inflateSync } from "node:zlib";
import { ByteReader } from "./byte-reader.js";
import { GitHttpError } from "./http.js";

/** What an object refers to. Contents of files (blobs) refer to nothing. */
export interface Links {
  /** Commits, trees and tags. */
  readonly others: readonly string[];
  readonly blobs: readonly string[];
}

/** Bytes of one object. */
const MAX_OBJECT = 1024 * 1024 * 1024;
const NO_LINKS: Links = { others: [], blobs: [] };

type Reader = ChildProcessByStdio<Writable, Readable, null>;

/** The objects of the repository that git runs in, read by one `git cat-file`. */
export class LocalObjects implements AsyncDisposable {
  readonly #directory: string;
  readonly #child: Reader;
  readonly #answers: ByteReader;
  /** One question at a time. */
  #turn: Promise<unknown> = Promise.resolve();

  private constructor(directory: string, child: Reader) {
    this.#directory = directory;
    this.#child = child;
    this.#answers = new ByteReader(child.stdout as AsyncIterable<Uint8Array>);
    child.on("error", () => {});
    child.stdin.on("error", () => {});
  }

  /** @throws GitHttpError where git runs in no repository */
  static async open(signal: AbortSignal): Promise<LocalObjects> {
    const path = await output(["rev-parse", "--git-path", "objects"], signal);
    const stdio: ["pipe", "pipe", "inherit"] = ["pipe", "pipe", "inherit"];
    const child = spawn("git", ["cat-file", "--batch-command"], { stdio, signal });
    return new LocalObjects(path.trim(), child);
  }

  /** Whether it is there. */
  async has(id: string): Promise<boolean> {
    return (await this.#ask(`info ${id}`)) !== undefined;
  }

  /** What an object refers to; `undefined` where there is none. */
  async links(id: string): Promise<Links | undefined> {
    const found = await this.#ask(`contents ${id}`);
    return found === undefined ? undefined : linksOf(found.type, found.content, id.length / 2);
  }

  /** Keeps an object that came by itself. @throws GitHttpError where it is another one */
  async add(id: string, bytes: Uint8Array): Promise<void> {
    const hash = createHash(id.length === 64 ? "sha256" : "sha1");
    const content = inflateSync(bytes, { maxOutputLength: MAX_OBJECT });
    if (hash.update(content).digest("hex") !== id) {
      throw new GitHttpError(`the server gave another object than ${id}`);
    }
    const path = join(this.#directory, id.slice(0, 2), id.slice(2));
    const temporary = join(this.#directory, `tmp_obj_${randomBytes(6).toString("hex")}`);
    try {
      await mkdir(dirname(path), { recursive: true });
      await writeFile(temporary, bytes, { mode: 0o444, flag: "wx" });
      await rename(temporary, path);
    } catch (error) {
      await rm(temporary, { force: true });
      throw error;
    }
  }

  /** Keeps a pack, which git checks. @throws GitHttpError for a damaged one */
  async addPack(bytes: AsyncIterable<Uint8Array>, signal: AbortSignal): Promise<void> {
    const stdio: ["pipe", "ignore", "inherit"] = ["pipe", "ignore", "inherit"];
    const child = spawn("git", ["index-pack", "--stdin"], { stdio, signal });
    const ended = once(child, "close") as Promise<[number | null]>;
    ended.catch(() => {});
    try {
      await pipeline(bytes, child.stdin);
      const [code] = await ended;
      if (code !== 0) throw new GitHttpError("a pack of the server is damaged");
    } finally {
      child.kill("SIGKILL");
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#child.kill("SIGKILL");
  }

  #ask(question: string): Promise<{ type: string; content: Buffer } | undefined> {
    const answer = this.#turn.then(() => this.#answer(question));
    this.#turn = answer.catch(() => {});
    return answer;
  }

  async #answer(question: string): Promise<{ type: string; content: Buffer } | undefined> {
    this.#child.stdin.write(`${question}\n`);
    const line = await this.#answers.line();
    if (line === undefined) throw new GitHttpError("git cat-file ended early");
    const [, type, size] = /^\S+ (\w+) (\d+)$/.exec(line) ?? [];
    if (type === undefined) return undefined;
    if (question.startsWith("info ")) return { type, content: Buffer.alloc(0) };
    const content = await this.#answers.take(Number(size));
    await this.#answers.take(1);
    return { type, content: content ?? Buffer.alloc(0) };
  }
}

function linksOf(type: string, content: Buffer, idBytes: number): Links {
  if (type === "tree") return treeLinks(content, idBytes);
  if (type === "blob") return NO_LINKS;
  const [head = ""] = content.toString("latin1").split("\n\n", 1);
  const pattern = type === "tag" ? /^object ([0-9a-f]+)$/gm : /^(?:tree|parent) ([0-9a-f]+)$/gm;
  return { others: [...head.matchAll(pattern)].map(([, id = ""]) => id), blobs: [] };
}

/** `MODE NAME`, a zero byte and the id, for each entry. Submodules are in repositories of their own. */
function treeLinks(content: Buffer, idBytes: number): Links {
  const others: string[] = [];
  const blobs: string[] = [];
  for (let at = 0; at < content.length;) {
    const end = content.indexOf(0, at);
    if (end < 0) break;
    const mode = content.toString("latin1", at, content.indexOf(0x20, at));
    at = end + 1 + idBytes;
    const id = content.toString("hex", end + 1, at);
    if (mode === "40000") others.push(id);
    else if (mode !== "160000") blobs.push(id);
  }
  return { others, blobs };
}

async function output(args: readonly string[], signal: AbortSignal): Promise<string> {
  const child = spawn("git", args, { stdio: ["ignore", "pipe", "inherit"], signal });
  const ended = once(child, "close") as Promise<[number | null]>;
  const chunks: Buffer[] = [];
  child.stdout.on("data", (chunk: Buffer) => chunks.push(chunk));
  const [code] = await ended;
  if (code !== 0) throw new GitHttpError(`git ${args[0]} failed`);
  return Buffer.concat(chunks).toString("utf8");
}

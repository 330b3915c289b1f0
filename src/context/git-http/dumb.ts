import { GitHttpError, type GitHttp } from "./http.js";
import { type Links, LocalObjects } from "./objects.js";
import { mayHold } from "./pack-index.js";

/** Objects that are asked for at the same time. */
const PARALLEL = 8;
/** Compressed bytes of one object that came by itself, and of one pack's index. */
const MAX_LOOSE = 512 * 1024 * 1024;
const MAX_INDEX = 512 * 1024 * 1024;
const MAX_PACK_LIST = 1024 * 1024;
/** Ids are remembered; a repository of this size is served by a server that knows git. */
const MAX_OBJECTS = 4_000_000;

/**
 * Fetches objects and all that they refer to from a server that only has files: each by itself where it is there so, else
 * with a pack that has it.
 * @throws GitHttpError
 */
export async function fetchObjects(
  http: GitHttp,
  wanted: readonly string[],
  signal: AbortSignal,
): Promise<void> {
  await using local = await LocalObjects.open(signal);
  const source = new Source(http, local, signal);
  const seen = new Set(wanted);
  const pending: { id: string; isBlob: boolean }[] = wanted.map((id) => ({ id, isBlob: false }));
  const add = (ids: readonly string[], isBlob: boolean): void => {
    for (const id of ids) {
      if (seen.has(id)) continue;
      seen.add(id);
      pending.push({ id, isBlob });
    }
  };
  try {
    while (pending.length > 0) {
      if (seen.size > MAX_OBJECTS) throw new GitHttpError(`more than ${MAX_OBJECTS} objects`);
      const some = pending.splice(-PARALLEL);
      await Promise.all(
        some.map(async ({ id, isBlob }) => {
          if (isBlob) return source.need(id);
          const { others, blobs } = await source.links(id);
          add(others, false);
          add(blobs, true);
        }),
      );
    }
  } catch (error) {
    throw http.failure(error);
  }
}

/** Objects that are here, or come when they are needed. */
class Source {
  readonly #http: GitHttp;
  readonly #local: LocalObjects;
  readonly #signal: AbortSignal;
  #packs: Promise<readonly Pack[]> | undefined;

  constructor(http: GitHttp, local: LocalObjects, signal: AbortSignal) {
    this.#http = http;
    this.#local = local;
    this.#signal = signal;
  }

  async need(id: string): Promise<void> {
    if (!(await this.#local.has(id))) await this.#fetch(id);
  }

  async links(id: string): Promise<Links> {
    const here = await this.#local.links(id);
    if (here !== undefined) return here;
    await this.#fetch(id);
    const links = await this.#local.links(id);
    if (links === undefined) throw new GitHttpError(`cannot read the object ${id}`);
    return links;
  }

  async #fetch(id: string): Promise<void> {
    // Where there are packs, most objects are in them.
    const hadPack = await this.#fetchPackOf(id);
    if (hadPack && (await this.#local.has(id))) return;
    const response = await this.#http.file(`objects/${id.slice(0, 2)}/${id.slice(2)}`);
    if (response === undefined) throw new GitHttpError(`Unable to find ${id}`);
    await this.#local.add(id, await response.bytes(MAX_LOOSE));
  }

  async #fetchPackOf(id: string): Promise<boolean> {
    this.#packs ??= this.#listPacks();
    for (const pack of await this.#packs) {
      if (!(await pack.mayHold(id))) continue;
      await pack.fetch();
      if (await this.#local.has(id)) return true;
    }
    return false;
  }

  async #listPacks(): Promise<readonly Pack[]> {
    const response = await this.#http.file("objects/info/packs");
    if (response === undefined) return [];
    const text = Buffer.from(await response.bytes(MAX_PACK_LIST)).toString("utf8");
    return [...text.matchAll(/^P (pack-[0-9a-f]{40,64})\.pack$/gm)].map(
      ([, name = ""]) => new Pack(name, this.#http, this.#local, this.#signal),
    );
  }
}

class Pack {
  readonly #path: string;
  readonly #http: GitHttp;
  readonly #local: LocalObjects;
  readonly #signal: AbortSignal;
  #index: Promise<Buffer> | undefined;
  #fetched: Promise<void> | undefined;

  constructor(name: string, http: GitHttp, local: LocalObjects, signal: AbortSignal) {
    this.#path = `objects/pack/${name}`;
    this.#http = http;
    this.#local = local;
    this.#signal = signal;
  }

  async mayHold(id: string): Promise<boolean> {
    return mayHold(await (this.#index ??= this.#readIndex()), id);
  }

  /** Once, however many ask for it. */
  fetch(): Promise<void> {
    return (this.#fetched ??= this.#download());
  }

  async #readIndex(): Promise<Buffer> {
    const response = await this.#http.file(`${this.#path}.idx`);
    return response === undefined ? Buffer.alloc(0) : Buffer.from(await response.bytes(MAX_INDEX));
  }

  async #download(): Promise<void> {
    const response = await this.#http.file(`${this.#path}.pack`);
    if (response === undefined) throw new GitHttpError(`${this.#path}.pack is not there`);
    await this.#local.addPack(response.body, this.#signal);
  }
}

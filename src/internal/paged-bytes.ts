import type { SpillFile } from "./spill-file.js";

/** So many of the pages used last stay where they are: code may work with a few of them at once. */
const HELD_PAGES = 8;

export interface PageLimits {
  /** Bytes. */
  readonly pageSize: number;
  /** That stay in memory; the others go to the disk. At least {@link HELD_PAGES} do. */
  readonly resident: number;
}

/** Pages of bytes, of which as many are in memory as are allowed; of the rest, those that were not used for longest are on the disk. */
export class PagedBytes {
  readonly #spill: SpillFile;
  readonly #limits: PageLimits;
  readonly #pages: (Buffer | undefined)[] = [];
  /** When each was used last. */
  readonly #used: number[] = [];
  /** Where each is in the spill file; -1: it never was there. */
  readonly #places: number[] = [];
  readonly #dirty: boolean[] = [];
  readonly #resident: number[] = [];
  #now = 0;
  #frozen = false;

  constructor(spill: SpillFile, limits: PageLimits) {
    this.#spill = spill;
    this.#limits = limits;
  }

  get count(): number {
    return this.#pages.length;
  }

  /** Adds a page of zeros. */
  add(): void {
    const buffer = this.#room()?.fill(0) ?? Buffer.alloc(this.#limits.pageSize);
    this.#places.push(-1);
    this.#enter(this.#pages.length, buffer, true);
  }

  /** Good for reading and writing until eight other pages have been asked for. */
  page(index: number): Buffer {
    const page = this.#pages[index];
    if (page === undefined) return this.#load(index);
    this.#used[index] = ++this.#now;
    return page;
  }

  /** Nobody writes any more: what is on the disk need not be written there again. */
  freeze(): void {
    this.#frozen = true;
  }

  #load(index: number): Buffer {
    const place = this.#places[index];
    if (place === undefined) throw new RangeError(`there is no page ${index}`);
    const buffer = this.#room() ?? Buffer.allocUnsafeSlow(this.#limits.pageSize);
    this.#spill.read(buffer, place);
    this.#enter(index, buffer, !this.#frozen);
    return buffer;
  }

  #enter(index: number, buffer: Buffer, dirty: boolean): void {
    this.#pages[index] = buffer;
    this.#used[index] = ++this.#now;
    this.#dirty[index] = dirty;
    this.#resident.push(index);
  }

  /** The memory of the page that was not used for longest, once there may be no more; its bytes are on the disk then. */
  #room(): Buffer | undefined {
    if (this.#resident.length < Math.max(this.#limits.resident, HELD_PAGES + 1)) return undefined;
    let slot = 0;
    let oldest = Infinity;
    for (const [i, index] of this.#resident.entries()) {
      const used = this.#used[index] ?? 0;
      if (used >= oldest) continue;
      oldest = used;
      slot = i;
    }
    const index = this.#resident[slot] ?? 0;
    const buffer = this.#pages[index];
    if (buffer === undefined) return undefined;
    if (this.#dirty[index] === true) {
      let place = this.#places[index] ?? -1;
      if (place < 0) place = this.#spill.allocate(buffer.length);
      this.#spill.write(buffer, place);
      this.#places[index] = place;
    }
    this.#pages[index] = undefined;
    this.#resident[slot] = this.#resident.at(-1) ?? 0;
    this.#resident.pop();
    return buffer;
  }
}

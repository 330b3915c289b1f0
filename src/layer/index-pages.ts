const PAGE = 32 * 1024; // bytes
/** A window may reach so far into the next page. */
const OVERLAP = 512; // bytes
/** Bytes of indexes that are read into memory at once: those of any ordinary image. */
const WHOLE = 12 * 1024 * 1024;
/** Bytes of pages of the others. */
const PAGED = 6 * 1024 * 1024;

export interface PageBudget {
  /** Bytes of files that may be in memory as a whole. */
  readonly whole?: number;
  /** Bytes of parts of the others. */
  readonly paged?: number;
}

/** The memory that indexes have together, however many and large they are. */
export interface IndexPages {
  /** Bytes. A page holds so many more, of the one behind it. */
  readonly pageSize: number;
  readonly overlap: number;
  /** Whether so many bytes may be in memory as a whole. They are counted, and never given back. */
  takeRoom(bytes: number): boolean;
  /** A page of a file, filled when it is not there; good until others have been asked for. */
  page(file: object, number: number, fill: FillPage): Buffer;
}

export type FillPage = (into: Buffer, number: number) => void;

export function openIndexPages({ whole = WHOLE, paged = PAGED }: PageBudget = {}): IndexPages {
  return new Pages(whole, Math.max(1, Math.floor(paged / PAGE)));
}

interface Page {
  readonly file: object;
  readonly number: number;
  readonly buffer: Buffer;
}

class Pages implements IndexPages {
  readonly pageSize = PAGE;
  readonly overlap = OVERLAP;
  #room: number;
  readonly #most: number;
  /** In the order of their last use. */
  readonly #used = new Set<Page>();
  readonly #files = new WeakMap<object, Map<number, Page>>();
  #last: Page | undefined;

  constructor(room: number, most: number) {
    this.#room = room;
    this.#most = most;
  }

  takeRoom(bytes: number): boolean {
    if (bytes > this.#room) return false;
    this.#room -= bytes;
    return true;
  }

  page(file: object, number: number, fill: FillPage): Buffer {
    const last = this.#last;
    if (last?.number === number && last.file === file) return last.buffer;
    const known = this.#pagesOf(file).get(number);
    if (known !== undefined) this.#used.delete(known);
    const page = known ?? this.#make(file, number, fill);
    this.#used.add(page);
    this.#last = page;
    return page.buffer;
  }

  /** A page is known when it has been filled, not before. */
  #make(file: object, number: number, fill: FillPage): Page {
    const buffer = this.#free();
    fill(buffer, number);
    const page = { file, number, buffer };
    this.#pagesOf(file).set(number, page);
    return page;
  }

  /** The memory of the page that was not used for longest: buffers of their own would wait for the garbage collector. */
  #free(): Buffer {
    const [oldest] = this.#used.size < this.#most ? [] : this.#used;
    if (oldest === undefined) return Buffer.allocUnsafeSlow(PAGE + OVERLAP);
    this.#used.delete(oldest);
    this.#pagesOf(oldest.file).delete(oldest.number);
    if (this.#last === oldest) this.#last = undefined;
    return oldest.buffer;
  }

  #pagesOf(file: object): Map<number, Page> {
    let pages = this.#files.get(file);
    if (pages === undefined) this.#files.set(file, (pages = new Map<number, Page>()));
    return pages;
  }
}

import { hash } from "node:crypto";

/** Bytes of a record: the first of its key's sha256, and the digest. */
const KEY_SIZE = 16;
const DIGEST_SIZE = 32;
export const RECORD_SIZE = KEY_SIZE + DIGEST_SIZE;
const SHA256_DIGITS = 64;
const PAGE_RECORDS = 4096;
const FIRST_SLOTS = 1024;
/** What is known of a record: it was asked for, or is new; it is good for this build only. */
const [USED, PASSING] = [1, 2];

/** sha256 digests by a text, in a few large pieces of memory: a text and a digest as strings take five times as much. */
export class DigestTable {
  readonly #pages: Buffer[] = [];
  readonly #marks: Uint8Array;
  readonly #limit: number;
  /** Where each record is, and one more; by the first bytes of its key, or in the next free slot. At most half are taken. */
  #slots: Uint32Array = new Uint32Array(FIRST_SLOTS);
  #count = 0;
  #used = 0;

  /** @param limit of records */
  constructor(limit: number) {
    this.#limit = limit;
    this.#marks = new Uint8Array(limit);
  }

  /** Of what is there, how much was not asked for. */
  get unused(): number {
    return this.#count - this.#used;
  }

  get isFull(): boolean {
    return this.#count === this.#limit;
  }

  /** In hexadecimal digits. */
  get(text: string): string | undefined {
    const at = this.#find(keyOf(text));
    if (at === undefined) return undefined;
    this.#use(at);
    const start = startOf(at) + KEY_SIZE;
    return this.#page(at).toString("hex", start, start + DIGEST_SIZE);
  }

  /** Whether there was room for it, and it is a digest. @param lasting else it is not among {@link lastingRecords} */
  set(text: string, digest: string, lasting: boolean): boolean {
    const key = keyOf(text);
    const known = this.#find(key);
    if (digest.length !== DIGEST_SIZE * 2 || (known === undefined && this.isFull)) return false;
    const at = known ?? this.#add(key);
    this.#page(at).write(digest, startOf(at) + KEY_SIZE, DIGEST_SIZE, "hex");
    this.#use(at);
    if (lasting) this.#unmark(at, PASSING);
    else this.#mark(at, PASSING);
    return true;
  }

  /** Adds records of an earlier table; those that find no room are left out. */
  addRecords(records: Buffer): void {
    const end = Math.min(records.length, (this.#limit - this.#count) * RECORD_SIZE);
    this.#makeSlots(this.#count + end / RECORD_SIZE);
    for (let from = 0; from < end;) {
      const first = this.#count;
      const copied = records.copy(this.#lastPage(), startOf(first), from, end);
      from += copied;
      this.#count += copied / RECORD_SIZE;
      for (let at = first; at < this.#count; at++) this.#enter(at);
    }
  }

  /** Makes room by what was not asked for. */
  dropUnused(): void {
    const count = this.#count;
    this.#slots.fill(0);
    this.#count = 0;
    this.#used = 0;
    for (let from = 0; from < count; from++) {
      const marks = this.#marks[from] ?? 0;
      this.#marks[from] = 0;
      if ((marks & USED) === 0) continue;
      const to = this.#count++;
      this.#used += 1;
      const start = startOf(from);
      this.#page(from).copy(this.#page(to), startOf(to), start, start + RECORD_SIZE);
      this.#marks[to] = marks;
      this.#enter(to);
    }
    this.#pages.length = Math.ceil(this.#count / PAGE_RECORDS);
  }

  /** What a later build may know, in pieces that are good until the next one is asked for. */
  *lastingRecords(): Generator<Buffer> {
    const piece = Buffer.alloc(PAGE_RECORDS * RECORD_SIZE);
    let filled = 0;
    for (let at = 0; at < this.#count; at++) {
      if (((this.#marks[at] ?? 0) & PASSING) !== 0) continue;
      const start = startOf(at);
      filled += this.#page(at).copy(piece, filled, start, start + RECORD_SIZE);
      if (filled < piece.length) continue;
      yield piece;
      filled = 0;
    }
    yield piece.subarray(0, filled);
  }

  #find(key: Buffer): number | undefined {
    const last = this.#slots.length - 1;
    for (let slot = key.readUInt32LE(0) & last; ; slot = (slot + 1) & last) {
      const entry = this.#slots[slot] ?? 0;
      if (entry === 0) return undefined;
      const start = startOf(entry - 1);
      const page = this.#page(entry - 1);
      if (page.compare(key, 0, KEY_SIZE, start, start + KEY_SIZE) === 0) return entry - 1;
    }
  }

  #add(key: Buffer): number {
    const at = this.#count;
    this.#makeSlots(at + 1);
    key.copy(this.#lastPage(), startOf(at), 0, KEY_SIZE);
    this.#count += 1;
    this.#enter(at);
    return at;
  }

  /** The page that the next record goes to. */
  #lastPage(): Buffer {
    if (this.#count === this.#pages.length * PAGE_RECORDS) {
      this.#pages.push(Buffer.allocUnsafeSlow(PAGE_RECORDS * RECORD_SIZE));
    }
    return this.#page(this.#count);
  }

  /** As many slots as so many records need. */
  #makeSlots(records: number): void {
    let count = this.#slots.length;
    while (count < records * 2) count *= 2;
    if (count === this.#slots.length) return;
    this.#slots = new Uint32Array(count);
    for (let at = 0; at < this.#count; at++) this.#enter(at);
  }

  #enter(at: number): void {
    const last = this.#slots.length - 1;
    let slot = this.#page(at).readUInt32LE(startOf(at)) & last;
    while (this.#slots[slot] !== 0) slot = (slot + 1) & last;
    this.#slots[slot] = at + 1;
  }

  #use(at: number): void {
    if (((this.#marks[at] ?? 0) & USED) === 0) this.#used += 1;
    this.#mark(at, USED);
  }

  #mark(at: number, mark: number): void {
    this.#marks[at] = (this.#marks[at] ?? 0) | mark;
  }

  #unmark(at: number, mark: number): void {
    this.#marks[at] = (this.#marks[at] ?? 0) & ~mark;
  }

  #page(at: number): Buffer {
    const page = this.#pages[Math.floor(at / PAGE_RECORDS)];
    if (page === undefined) throw new RangeError(`there is no record ${at}`);
    return page;
  }
}

/** What is a sha256 already stands for itself. */
function keyOf(text: string): Buffer {
  if (text.length === SHA256_DIGITS) {
    const bytes = Buffer.from(text, "hex");
    if (bytes.length * 2 === SHA256_DIGITS) return bytes;
  }
  return hash("sha256", text, "buffer");
}

function startOf(at: number): number {
  return (at % PAGE_RECORDS) * RECORD_SIZE;
}

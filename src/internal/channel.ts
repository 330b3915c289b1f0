/**
 * A queue between one that pushes and one that iterates. Pushing never waits, so what is kept is bounded: `weigh` gives
 * an item's size, `merge` may put an item into the last one's place, and `drop` says which items may go when the queue
 * is full.
 */
export interface ChannelOptions<T> {
  /** In the unit of `weigh`. */
  readonly limit: number;
  weigh(item: T): number;
  /** Items with the same key replace one another while they wait. */
  key(item: T): string | undefined;
  canDrop(item: T): boolean;
}

export class Channel<T> implements AsyncIterable<T> {
  readonly #options: ChannelOptions<T>;
  #items: T[] = [];
  #weight = 0;
  #closed = false;
  #wake: (() => void) | undefined;

  constructor(options: ChannelOptions<T>) {
    this.#options = options;
  }

  push(item: T): void {
    if (this.#closed) return;
    const key = this.#options.key(item);
    const same =
      key === undefined ? -1 : this.#items.findIndex((other) => this.#options.key(other) === key);
    if (same >= 0) {
      this.#items[same] = item;
    } else {
      this.#items.push(item);
      this.#weight += this.#options.weigh(item);
      if (this.#weight > this.#options.limit) this.#shed();
    }
    this.#wake?.();
  }

  /** Drops the oldest droppable items until half of the limit is free: an unread queue must not fill the memory. */
  #shed(): void {
    const keep: T[] = [];
    for (const item of this.#items) {
      if (this.#weight > this.#options.limit / 2 && this.#options.canDrop(item)) {
        this.#weight -= this.#options.weigh(item);
      } else {
        keep.push(item);
      }
    }
    this.#items = keep;
  }

  close(): void {
    this.#closed = true;
    this.#wake?.();
  }

  async *[Symbol.asyncIterator](): AsyncIterator<T> {
    for (;;) {
      const items = this.#items;
      this.#items = [];
      this.#weight = 0;
      yield* items;
      if (this.#items.length > 0) continue;
      if (this.#closed) return;
      await new Promise<void>((resolve) => {
        this.#wake = resolve;
      });
      this.#wake = undefined;
    }
  }
}

/** Of how many numbers are in one piece: a list of few takes little. */
const BITS = 14;
const WITHIN = (1 << BITS) - 1;

/**
 * A list of 32-bit numbers that grows without being copied: what a copy leaves behind would lie in memory until the
 * garbage collector looks at old objects, which for large buffers is late.
 */
export class Uint32List {
  readonly #pieces: Uint32Array[] = [];

  /** Makes room for `length` numbers; new ones are 0. Never shrinks. */
  reserve(length: number): void {
    while (this.#pieces.length << BITS < length) this.#pieces.push(new Uint32Array(1 << BITS));
  }

  /** 0 where there is no room. */
  get(index: number): number {
    return this.#pieces[index >>> BITS]?.[index & WITHIN] ?? 0;
  }

  /** There has to be room. */
  set(index: number, value: number): void {
    const piece = this.#pieces[index >>> BITS];
    if (piece === undefined) throw new RangeError(`there is no room for number ${index}`);
    piece[index & WITHIN] = value;
  }
}

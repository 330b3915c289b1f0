import type { FileReader } from "../oci/tree.js";
import type { SparseMap } from "./tar/sparse.js";

/** A sparse file as programs see it, from the bytes that its archive stores one after another. */
export class SparseFileReader implements FileReader {
  readonly #stored: FileReader;
  readonly #map: SparseMap;
  readonly #size: number;
  #position = 0;
  #segment = 0;

  /** Takes `stored` over and disposes it. `map` is sound (see `isSound`). */
  constructor(stored: FileReader, map: SparseMap, size: number) {
    this.#stored = stored;
    this.#map = map;
    this.#size = size;
  }

  read(into: Uint8Array): number {
    const total = Math.min(into.length, this.#size - this.#position);
    let at = 0;
    while (at < total) {
      const got = this.#piece(into.subarray(at, total));
      if (got === 0) break;
      at += got;
      this.#position += got;
    }
    return at;
  }

  [Symbol.dispose](): void {
    this.#stored[Symbol.dispose]();
  }

  /** As much of one hole or one stored piece as fits. */
  #piece(into: Uint8Array): number {
    let offset = this.#map[this.#segment] ?? this.#size;
    let end = offset + (this.#map[this.#segment + 1] ?? 0);
    while (this.#position >= end && this.#segment < this.#map.length) {
      this.#segment += 2;
      offset = this.#map[this.#segment] ?? this.#size;
      end = offset + (this.#map[this.#segment + 1] ?? 0);
    }
    if (this.#position >= offset) return this.#stored.read(into.subarray(0, end - this.#position));
    const zeros = Math.min(into.length, offset - this.#position);
    into.fill(0, 0, zeros);
    return zeros;
  }
}

/** Where a version 2 index (gitformat-pack) begins, and its fan-out table: how many ids begin with each byte or less. */
const MAGIC = 0xff744f63;
const FANOUT = 8;
const IDS = FANOUT + 256 * 4;

/** Whether a pack has an object, by its index; of an index of another version, that it might. */
export function mayHold(index: Buffer, id: string): boolean {
  const wanted = Buffer.from(id, "hex");
  if (index.length < IDS || index.readUInt32BE(0) !== MAGIC || index.readUInt32BE(4) !== 2) {
    return true;
  }
  const count = (byte: number): number => (byte < 0 ? 0 : index.readUInt32BE(FANOUT + 4 * byte));
  const first = wanted[0] ?? 0;
  let [low, high] = [count(first - 1), count(first)];
  while (low < high) {
    const middle = (low + high) >>> 1;
    const at = IDS + middle * wanted.length;
    const order = wanted.compare(index.subarray(at, at + wanted.length));
    if (order === 0) return true;
    if (order < 0) high = middle;
    else low = middle + 1;
  }
  return false;
}

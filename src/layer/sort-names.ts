/** Fewer are compared as a whole; more would be too many objects. */
const FEW = 1024;
/** Bytes of a name that a double holds exactly. */
const KEY_BYTES = 6;

/**
 * Puts nodes into the order of their names' bytes, in place. A million names are never in memory at once: nodes are
 * compared by the few bytes behind what all of them begin with, and only those that have these in common looked at again.
 * @param nameOf Its result need not outlive two more calls. Names hold no NUL.
 */
export function sortByName(nodes: Uint32Array, nameOf: (node: number) => Buffer): void {
  if (inOrder(nodes, nameOf)) return;
  if (nodes.length <= FEW) return sortFew(nodes, nameOf);
  const shared = commonStart(nodes, nameOf);
  const keys = Float64Array.from(nodes, (node) => keyAt(nameOf(node), shared));
  const order = Uint32Array.from(nodes, (_, i) => i);
  order.sort((a, b) => (keys[a] ?? 0) - (keys[b] ?? 0));
  const sorted = Uint32Array.from(order, (i) => nodes[i] ?? 0);
  nodes.set(sorted);
  const sortedKeys = Float64Array.from(order, (i) => keys[i] ?? 0);
  for (let start = 0; start < nodes.length;) {
    let end = start + 1;
    while (end < nodes.length && sortedKeys[end] === sortedKeys[start]) end++;
    if (end - start > 1) sortByName(nodes.subarray(start, end), nameOf);
    start = end;
  }
}

function sortFew(nodes: Uint32Array, nameOf: (node: number) => Buffer): void {
  const named = Array.from(nodes, (node) => ({ node, name: Buffer.from(nameOf(node)) }));
  named.sort((a, b) => a.name.compare(b.name));
  for (const [i, { node }] of named.entries()) nodes[i] = node;
}

function inOrder(nodes: Uint32Array, nameOf: (node: number) => Buffer): boolean {
  for (let i = 1; i < nodes.length; i++) {
    const before = nameOf(nodes[i - 1] ?? 0);
    if (before.compare(nameOf(nodes[i] ?? 0)) > 0) return false;
  }
  return true;
}

function commonStart(nodes: Uint32Array, nameOf: (node: number) => Buffer): number {
  const first = Buffer.from(nameOf(nodes[0] ?? 0));
  let shared = first.length;
  for (const node of nodes) {
    const name = nameOf(node);
    let same = 0;
    while (same < shared && name[same] === first[same]) same++;
    shared = same;
  }
  return shared;
}

/** A name that ends sooner has zeros there, and comes first. */
function keyAt(name: Buffer, start: number): number {
  let key = 0;
  for (let i = start; i < start + KEY_BYTES; i++) key = key * 256 + (name[i] ?? 0);
  return key;
}

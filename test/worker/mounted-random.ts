import type { TarHeader } from "../../src/layer/index.js";

export type RandomEntry = Partial<TarHeader> & { path: string; content?: string };

/** Numbers below `bound`, the same for each seed (mulberry32). */
export type Random = (bound: number) => number;

export function randomOf(seed: number): Random {
  let state = seed;
  return (bound) => {
    state = (state + 0x6d2b79f5) | 0;
    let mixed = Math.imul(state ^ (state >>> 15), 1 | state);
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed;
    return Math.floor((((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32) * bound);
  };
}

/** From small sets, so that entries meet; before and behind "." and "..", and one that is no UTF-8. */
const DIRECTORIES = ["a", "-dir", "..d", "ü"];
const FILES = ["b", "-dash", "+", "..x", ".x", "...", "~", "\udcff\udc80", "f"];
const LONG = "n".repeat(255);

/** A layer of anything that a tar may say, in any order. */
export function randomLayer(random: Random): readonly RandomEntry[] {
  const entries: RandomEntry[] = [];
  const files: string[] = [];
  // Said twice, a directory keeps what it had at first: of unpacking that is known, and not what is tried here.
  const attributes = new Map<string, Map<string, Buffer>>();
  const count = 5 + random(60);
  for (let i = 0; i < count; i++) {
    const path = randomPath(random);
    const made = randomEntry(random, path, files);
    const key = made.path.replace(/\/$/, "");
    const xattrs = attributes.get(key) ?? randomXattrs(random);
    const entry = made.type === "directory" ? { ...made, xattrs } : made;
    if (made.type === "directory") attributes.set(key, xattrs);
    entries.push(entry);
    if (entry.type === "file" && !entry.path.includes(".wh.")) files.push(path);
  }
  return entries;
}

function randomPath(random: Random): string {
  const pick = (from: readonly string[]): string => from[random(from.length)] ?? "a";
  const names = Array.from({ length: random(4) }, () => pick(DIRECTORIES));
  // Seldom both: what is below a file makes the layer an error.
  names.push(random(12) === 0 ? LONG : pick(random(400) === 0 ? DIRECTORIES : FILES));
  return names.join("/");
}

function randomEntry(random: Random, path: string, files: readonly string[]): RandomEntry {
  const common = {
    path,
    mode: random(0o10000),
    uid: randomId(random),
    gid: randomId(random),
    mtimeNs: BigInt(random(2 ** 31)) * 1_000_000_000n + BigInt(random(1_000_000_000)),
    xattrs: new Map<string, Buffer>(),
  } as const;
  const parent = path.slice(0, path.lastIndexOf("/") + 1);
  const name = path.slice(parent.length);
  switch (random(12)) {
    case 0:
      if (name === LONG) break;
      return { ...common, type: "file", path: `${parent}.wh.${name}` };
    case 1:
      return { ...common, type: "file", path: `${parent}.wh..wh..opq` };
    case 2:
    case 3:
    case 4:
      return {
        ...common,
        type: "directory",
        path: parent === "" ? "a" : parent,
      };
    case 5:
      return { ...common, type: "symlink", linkTarget: "t".repeat(1 + random(1200)) };
    case 6:
      return { ...common, type: "fifo" };
    case 7:
      return {
        ...common,
        type: random(2) === 0 ? "char" : "block",
        devMajor: random(300),
        devMinor: random(70_000),
      };
    case 8: {
      const target = files[random(Math.max(1, files.length))];
      if (target !== undefined) return { ...common, type: "hardlink", linkTarget: target };
      break;
    }
  }
  const content = "x".repeat(random(4) === 0 ? random(20_000) : random(600)) + String(random(9));
  return { ...common, type: "file", content, xattrs: randomXattrs(random) };
}

function randomId(random: Random): number {
  return random(3) === 0 ? random(2 ** 32 - 2) : random(3);
}

function randomXattrs(random: Random): Map<string, Buffer> {
  const found = new Map<string, Buffer>();
  if (random(4) === 0) found.set("user.note", Buffer.alloc(random(300), "v"));
  if (random(6) === 0) found.set("user.overlay.opaque", Buffer.from("y"));
  if (random(6) === 0) found.set("trusted.note", Buffer.of(0, 255, random(256)));
  if (random(6) === 0) {
    const capability = Buffer.from("0100000200200000000000000000000000000000", "hex");
    found.set("security.capability", capability);
  }
  if (random(8) === 0) found.set(`user.${"k".repeat(1 + random(249))}`, Buffer.alloc(random(2000)));
  return found;
}

// Takes out of a Node binary the languages that a build tool does not speak: 30 of its 116 MB. What is left is what
// Node's own --with-intl=small-icu build has. Usage: node trim-icu.mjs FILE
//
// ICU's data is one table inside the binary: a header, the number of items, (name, data) offsets sorted by name, the
// items (ICU's ucmndata.h). The items that go are overwritten with zeros, which compress to nothing, and left out of
// the table; all others stay where they are.
import { readFileSync, writeFileSync } from "node:fs";

const [file] = process.argv.slice(2);
const binary = readFileSync(file);
const table = findTable();
const items = readItems();
const kept = items.filter(({ name }) => isKept(name));
const last = items.at(-1);
if (kept.length < 50 || kept.length > items.length / 4) {
  throw new Error(
    `${kept.length} of ${items.length} items would be kept: ICU's names have changed`,
  );
}
for (const [index, item] of items.entries()) {
  // The length of the last one is not in the table.
  if (isKept(item.name) || item === last) continue;
  binary.fill(0, table + item.data, table + (items[index + 1]?.data ?? item.data));
}
binary.fill(0, table + 4, table + 4 + 8 * items.length);
binary.writeUInt32LE(kept.length, table);
for (const [index, { nameAt, data }] of kept.entries()) {
  binary.writeUInt32LE(nameAt, table + 4 + 8 * index);
  binary.writeUInt32LE(data, table + 8 + 8 * index);
}
writeFileSync(file, binary);
process.stdout.write(`kept ${kept.length} of ${items.length} items of ICU's data\n`);

/** Where the number of items stands, after a header with two magic bytes and the format's name. */
function findTable() {
  const found = [];
  for (let at = binary.indexOf("CmnD"); at >= 0; at = binary.indexOf("CmnD", at + 1)) {
    const header = at - 12;
    if (binary.readUInt16BE(header + 2) === 0xda27)
      found.push(header + binary.readUInt16LE(header));
  }
  if (found.length !== 1) throw new Error(`found ${found.length} tables of ICU's data`);
  return found[0];
}

function readItems() {
  return Array.from({ length: binary.readUInt32LE(table) }, (_, index) => {
    const nameAt = binary.readUInt32LE(table + 4 + 8 * index);
    const start = table + nameAt;
    const name = binary.toString("latin1", start, binary.indexOf(0, start));
    // Without the package's name and version: icudt78l/coll/en.res
    return {
      nameAt,
      name: name.slice(name.indexOf("/") + 1),
      data: binary.readUInt32LE(table + 8 + 8 * index),
    };
  });
}

/** English and what is of no language; no converters, dictionaries, spelled-out numbers and transliteration. */
function isKept(name) {
  const [, tree, base = "", kind] = /^(?:(\w+)\/)?([^/]+)\.(\w+)$/.exec(name) ?? [];
  if (kind === "cnv" || kind === "cfu" || kind === "dict") return false;
  if (tree === "rbnf" || tree === "translit") return false;
  if (kind !== "res") return true;
  return /^en(_|$)/.test(base) || !/^[a-z]{2,3}(_|$)/.test(base);
}

import type { Records, Store } from "../../store/types.js";
import { readRecord, writtenRecord } from "./record-form.js";
import type { Ingredient, Memory, RecordBook, Remembered } from "./types.js";

/** The records of this machine's store, as far as it has their layers. */
export function storeBook(store: Pick<Store, "records" | "stat">): RecordBook {
  const { records } = store;
  const save: RecordBook["save"] = (key, record) => records.put(key, writtenRecord(record));
  return {
    name: "the store",
    find: async (key) => {
      const record = readRecord(await records.find(key));
      if (record?.kind !== "layer") return record;
      const { digest, size } = record.layer.descriptor;
      return (await store.stat(digest))?.size === size ? record : undefined;
    },
    save,
    // Its layer may come later, when a step needs the files.
    found: save,
  };
}

const VERSION = 1;

/** What the store remembers of steps, beside the records of their layers. */
export function storeMemory(records: Records): Memory {
  return {
    recall: async (place) => readRemembered(await records.find(place)),
    remember: (place, { parent, base, facts, contents }) =>
      records.put(place, {
        version: VERSION,
        kind: "inputs",
        parent,
        base: base && [base.name, base.files],
        facts: facts.map(({ name, value }) => [name, value]),
        contents: contents.map(({ name, digest, files }) => [name, digest, files && [...files]]),
      }),
  };
}

function readRemembered(value: unknown): Remembered | undefined {
  const { version, kind, parent, base, facts, contents } = (value ?? {}) as Record<string, unknown>;
  if (version !== VERSION || kind !== "inputs" || typeof parent !== "string") return undefined;
  if (!Array.isArray(facts) || !Array.isArray(contents)) return undefined;
  return {
    parent,
    ...(isPair(base) ? { base: { name: base[0], files: base[1] } } : {}),
    facts: facts.filter(isPair).map(([name, text]): Ingredient => ({ name, value: text })),
    contents: contents.filter(isPair).map(([name, digest, files]) => ({
      name,
      digest,
      ...(Array.isArray(files)
        ? { files: new Map(files.filter(isPair).map(([path, own]) => [path, own] as const)) }
        : {}),
    })),
  };
}

function isPair(value: unknown): value is readonly [string, string, ...unknown[]] {
  return Array.isArray(value) && typeof value[0] === "string" && typeof value[1] === "string";
}

import { readFile, writeFile } from "node:fs/promises";
import { setTimeout as sleep } from "node:timers/promises";
import { expect, test } from "vitest";
import { diffIdFromHex } from "../../src/oci/digest.js";
import { LayerFaults } from "../../src/solver/layer-faults.js";
import { Layers } from "../../src/solver/layers.js";
import { openStore } from "../../src/store/index.js";
import { client } from "../registry/images.js";
import { tempDir } from "../support/tools.js";

const { signal } = new AbortController();
const diffIds = ["a", "b"].map((digit) => diffIdFromHex(digit.repeat(64)));

test("a stage that finds no indexes left to take goes on when those that another one took are in the store", async () => {
  await using dir = await tempDir();
  await using store = await openStore(dir.path, signal);
  const slow = {
    ...store,
    adoptIndex: async (...args: Parameters<typeof store.adoptIndex>) => {
      await sleep(20);
      await store.adoptIndex(...args);
    },
  };
  const made = diffIds.map((diffId, i) => ({ diffId, file: store.stagingPath(`.${i}`) }));
  for (const { file } of made) await writeFile(file, "index");
  const worker = { takeIndexes: () => Promise.resolve(made.splice(0)) };
  await using registry = client();
  const emit = (): void => undefined;
  const layers = new Layers({ store: slow, registry, signal, emit, faults: new LayerFaults() });
  const first = layers.adoptIndexes(worker);
  await layers.adoptIndexes(worker);
  for (const diffId of diffIds) {
    expect(await readFile((await store.findIndex(diffId)) ?? "none", "utf8")).toBe("index");
  }
  await first;
});

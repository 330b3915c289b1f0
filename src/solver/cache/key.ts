import { createHash } from "node:crypto";
import type { Image } from "../../oci/types.js";
import type { Chain, Ingredient } from "./types.js";

declare const brand: unique symbol;

/** What decides a step's layer, as 64 hexadecimal digits. */
export type CacheKey = string & { readonly [brand]: "CacheKey" };

const CACHE_KEY = /^[0-9a-f]{64}$/;

export function isCacheKey(value: unknown): value is CacheKey {
  return typeof value === "string" && CACHE_KEY.test(value);
}

/** Each name and value comes after its length: no two lists are written alike. */
export function keyOf(ingredients: readonly Ingredient[]): CacheKey {
  const hash = createHash("sha256");
  for (const { name, value } of ingredients) {
    for (const text of [name, value]) hash.update(`${Buffer.byteLength(text)}:`).update(text);
  }
  return hash.digest("hex") as CacheKey;
}

/** Where a stage begins: the files of its base. What else the base says is among what each step sees. */
export function baseChain({ layers, config }: Image): Chain {
  const { os, architecture } = config.platform;
  const files = layers.map(({ diffId }) => diffId).join(" ");
  const key = keyOf([
    { name: "base", value: files },
    { name: "os", value: os },
    { name: "architecture", value: architecture },
  ]);
  return { key, runs: keyOf([]) };
}

/** What a stage is by definition, for who copies or mounts from it. */
export function definitionOf({ key, runs }: Chain): string {
  return `${key} ${runs}`;
}

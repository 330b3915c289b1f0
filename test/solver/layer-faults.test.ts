import { expect, test } from "vitest";
import { TsbuildError } from "../../src/errors.js";
import { digestOf } from "../../src/oci/digest.js";
import { keyOf } from "../../src/solver/cache/key.js";
import { LayerFaults } from "../../src/solver/layer-faults.js";

const [one, two] = [digestOf(Buffer.from("one")), digestOf(Buffer.from("two"))];
const key = keyOf([{ name: "a", value: "key" }]);
const gone = (): TsbuildError => new TsbuildError("REGISTRY_UNAVAILABLE", "it is gone\nand more");

test("a failure for a cache's layer denies its records, says why, and happens once for each layer", () => {
  const faults = new LayerFaults();
  faults.use(one, "the cache c", key);
  const error = gone();
  faults.unreadable(one, error);
  const thrown = new Error("the step failed", { cause: new Error("inside", { cause: error }) });
  expect(faults.admit(thrown)).toEqual([
    { digest: one, where: "the cache c", reason: "it is gone" },
  ]);
  expect([faults.isDenied(one), faults.isDenied(two)]).toEqual([true, false]);
  expect([faults.isDoubted("the cache c"), faults.isDoubted("the store")]).toEqual([true, false]);
  expect(faults.because(key)).toBe("the layer that the cache c has cannot be read: it is gone");
  faults.unreadable(one, error);
  expect(faults.admit(error)).toEqual([]);
});

test("work that fails for another reason stays failed, whatever went wrong beside it", () => {
  const faults = new LayerFaults();
  faults.use(one, "the cache c", key);
  faults.unreadable(one, gone());
  expect(faults.admit(new Error("exit code 1"))).toEqual([]);
  expect(faults.isDenied(one)).toBe(false);
});

test("a layer that no cache gave is nobody's fault here, unless the store has damaged it", () => {
  const faults = new LayerFaults();
  const error = gone();
  faults.unreadable(one, error);
  expect(faults.admit(error)).toEqual([]);
  faults.damagedHere(one, error);
  expect(faults.admit(error)).toHaveLength(1);
  // The damaged file is gone, and whoever else has the layer is good for it.
  expect([faults.isDenied(one), faults.isDoubted("the store")]).toEqual([false, false]);
});

test("what failed at the same time is denied at once, and a layer made anew is believed again", () => {
  const faults = new LayerFaults();
  const errors = [gone(), gone()] as const;
  for (const [at, digest] of [one, two].entries()) {
    faults.use(digest, "the cache c", key);
    faults.unreadable(digest, errors[at]);
  }
  expect(faults.admit(errors[1]).map(({ digest }) => digest)).toEqual([one, two]);
  faults.made(one);
  expect([faults.isDenied(one), faults.isDenied(two)]).toEqual([false, true]);
});

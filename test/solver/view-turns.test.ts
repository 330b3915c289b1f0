import { expect, test } from "vitest";
import { createViewTurns, isSettled } from "../../src/solver/view-turns.js";

const never = new AbortController().signal;
const nothing = (): Promise<void> => Promise.resolve();

test("where there is room for every stage nobody waits, and nothing is waited for", async () => {
  const turns = createViewTurns(3);
  const before = (): Promise<void> => Promise.reject(new Error("asked for"));
  expect(await turns.take({ maxViews: 64 }, never, before)).toBeUndefined();
  expect(await turns.take({ maxViews: 3 }, never, before)).toBeUndefined();
});

test("one root goes from stage to stage, in the order in which they asked", async () => {
  const turns = createViewTurns(3);
  const order: string[] = [];
  const stage = async (name: string): Promise<void> => {
    using _turn = await turns.take({ maxViews: 1 }, never, nothing);
    order.push(`${name} begins`);
    await new Promise((resolve) => setTimeout(resolve, 5));
    order.push(`${name} ends`);
  };
  await Promise.all([stage("a"), stage("b"), stage("c")]);
  expect(order).toEqual(["a begins", "a ends", "b begins", "b ends", "c begins", "c ends"]);
});

test("a stage asks for its turn when what it needs is done, not before", async () => {
  const turns = createViewTurns(2);
  let finish = (): void => undefined;
  const done = new Promise<void>((resolve) => (finish = resolve));
  const late = turns.take({ maxViews: 1 }, never, () => done);
  // The one that it waits for gets the root meanwhile.
  using first = await turns.take({ maxViews: 1 }, never, nothing);
  expect(await isSettled(late)).toBe(false);
  finish();
  expect(await isSettled(late)).toBe(false);
  first?.[Symbol.dispose]();
  expect(await late).toBeDefined();
});

test("who stops waiting takes nobody's turn", async () => {
  const turns = createViewTurns(2);
  const stop = new AbortController();
  const first = await turns.take({ maxViews: 1 }, never, nothing);
  const second = turns.take({ maxViews: 1 }, stop.signal, nothing);
  stop.abort(new Error("stopped"));
  await expect(second).rejects.toThrow("stopped");
  first?.[Symbol.dispose]();
  expect(await turns.take({ maxViews: 1 }, never, nothing)).toBeDefined();
});

test("a promise is settled however it ended", async () => {
  expect(await isSettled(Promise.resolve(1))).toBe(true);
  expect(await isSettled(Promise.reject(new Error("no")))).toBe(true);
  expect(await isSettled(new Promise(() => undefined))).toBe(false);
});

import { expect, test } from "vitest";
import { createSemaphore } from "../../src/internal/semaphore.js";

const { signal } = new AbortController();

async function isPending(promise: Promise<unknown>): Promise<boolean> {
  const later = Symbol();
  const first = await Promise.race([promise, new Promise((done) => setTimeout(done, 5, later))]);
  return first === later;
}

test("no more run at once than there are permits, in the order in which they came", async () => {
  const semaphore = createSemaphore(2);
  let running = 0;
  let most = 0;
  const order: number[] = [];
  const work = async (index: number): Promise<void> => {
    using _permit = await semaphore.acquire(signal);
    order.push(index);
    running += 1;
    most = Math.max(most, running);
    await new Promise((done) => setTimeout(done, 2));
    running -= 1;
  };
  await Promise.all(Array.from({ length: 20 }, (_, index) => work(index)));
  expect(most).toBe(2);
  expect(order).toEqual(Array.from({ length: 20 }, (_, index) => index));
});

test("a permit that is given back twice counts once", async () => {
  const semaphore = createSemaphore(1);
  const permit = await semaphore.acquire(signal);
  permit[Symbol.dispose]();
  permit[Symbol.dispose]();
  await semaphore.acquire(signal);
  expect(await isPending(semaphore.acquire(signal))).toBe(true);
});

test("a wait that is aborted rejects with the reason and loses no permit", async () => {
  const semaphore = createSemaphore(1);
  const abort = new AbortController();
  const held = await semaphore.acquire(signal);
  const waiting = semaphore.acquire(abort.signal);
  const next = semaphore.acquire(signal);
  abort.abort(new Error("stop"));
  await expect(waiting).rejects.toThrow("stop");
  await expect(semaphore.acquire(abort.signal)).rejects.toThrow("stop");
  expect(await isPending(next)).toBe(true);
  held[Symbol.dispose]();
  expect(await isPending(next)).toBe(false);
});

test.each([0, -1, 1.5, Number.NaN])("%d permits are refused", (permits) => {
  expect(() => createSemaphore(permits)).toThrow("semaphore");
});

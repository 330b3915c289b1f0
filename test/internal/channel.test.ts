import { expect, test } from "vitest";
import { Channel } from "../../src/internal/channel.js";

interface Item {
  readonly key?: string;
  readonly size: number;
  readonly loose?: boolean;
}
const channel = (limit = 100): Channel<Item> =>
  new Channel<Item>({
    limit,
    weigh: ({ size }) => size,
    key: ({ key }) => key,
    canDrop: ({ loose }) => loose === true,
  });

async function all<T>(items: AsyncIterable<T>): Promise<T[]> {
  const list: T[] = [];
  for await (const item of items) list.push(item);
  return list;
}

test("a reader gets what was pushed before and after it came", async () => {
  const items = channel();
  items.push({ size: 1 });
  const reading = all(items);
  await Promise.resolve();
  items.push({ size: 2 });
  setTimeout(() => {
    items.push({ size: 3 });
    items.close();
  }, 5);
  expect((await reading).map(({ size }) => size)).toEqual([1, 2, 3]);
});

test("the latest of a key replaces the one that waits", async () => {
  const items = channel();
  items.push({ key: "a", size: 1 });
  items.push({ key: "b", size: 2 });
  items.push({ key: "a", size: 3 });
  items.close();
  expect((await all(items)).map(({ size }) => size)).toEqual([3, 2]);
});

test("an unread queue drops only what may be dropped, the oldest first", async () => {
  const items = channel(100);
  items.push({ size: 10 });
  for (let n = 0; n < 20; n++) items.push({ size: 10 + n, loose: true });
  items.close();
  const kept = (await all(items)).map(({ size }) => size);
  expect(kept[0]).toBe(10);
  expect(kept.at(-1)).toBe(29);
  expect(kept.length).toBeLessThan(12);
});

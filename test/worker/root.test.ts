import { once } from "node:events";
import { mkdirSync, mkdtempSync, readdirSync, rmSync, statSync, symlinkSync } from "node:fs";
import { stat } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { Worker } from "node:worker_threads";
import { build } from "esbuild";
import fc from "fast-check";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { compareNames, decodeName } from "../../src/layer/index.js";
import { fsPath } from "../../src/worker/root-names.js";
import {
  openScanCursor,
  openScanWriter,
  STAMP_SIZE,
} from "../../src/worker/snapshot/scan-records.js";

test("any name of bytes goes to the kernel as the bytes that came from it", () => {
  const name = fc.uint8Array({ minLength: 1, maxLength: 60 }).map((bytes) => Buffer.from(bytes));
  fc.assert(
    fc.property(name, (bytes) => {
      expect(Buffer.from(fsPath(decodeName(bytes)))).toEqual(bytes);
    }),
  );
});

test("records of a scan come back in order, whatever the paths are", () => {
  const path = fc.uint8Array({ maxLength: 300 }).map(decodeName);
  fc.assert(
    fc.property(fc.uniqueArray(path, { maxLength: 200 }), (paths) => {
      const sorted = paths.sort(compareNames);
      const writer = openScanWriter();
      sorted.forEach((each, at) => writer.add(each, Buffer.alloc(STAMP_SIZE, at)));
      const records = writer.finish();
      expect(records.count).toBe(sorted.length);
      const cursor = openScanCursor(records);
      sorted.forEach((each, at) => {
        expect(cursor.path).toBe(each);
        expect(Buffer.from(cursor.stamp)).toEqual(Buffer.alloc(STAMP_SIZE, at));
        cursor.next();
      });
      expect(cursor.path).toBeUndefined();
    }),
  );
});

test("800,000 records stay within 100 MB", () => {
  const writer = openScanWriter();
  const stamp = Buffer.alloc(STAMP_SIZE);
  const per = 100;
  for (let directory = 0; directory < 8000; directory++) {
    const parent = `usr/lib/node_modules/package-${String(directory).padStart(5, "0")}/dist`;
    for (let file = 0; file < per; file++) {
      writer.add(`${parent}/module-${String(file).padStart(3, "0")}.js.map`, stamp);
    }
  }
  const records = writer.finish();
  expect(records.count).toBe(800_000);
  const bytes = records.chunks.reduce((sum, chunk) => sum + chunk.bytes.length, 0);
  expect(bytes).toBeLessThan(100_000_000);
  let count = 0;
  for (const cursor = openScanCursor(records); cursor.path !== undefined; cursor.next()) count++;
  expect(count).toBe(800_000);
});

const because = process.getuid?.() === 0 ? undefined : ": needs root for chroot(2)";
describe.skipIf(because !== undefined)(`a thread inside a root${because ?? ""}`, () => {
  let directory: string;
  let thread: string;
  beforeAll(async () => {
    directory = `${process.cwd()}/node_modules/.cache/tsbuild-door-${process.pid}`;
    mkdirSync(directory, { recursive: true });
    thread = join(directory, "door.mjs");
    await build({
      entryPoints: ["test/worker/root-door-thread.ts"],
      outfile: thread,
      bundle: true,
      format: "esm",
      platform: "node",
      target: "node20",
      external: ["koffi"],
      logLevel: "warning",
    });
  });
  afterAll(() => rmSync(directory, { recursive: true, force: true }));

  test.each([
    { refuseChroot: false, way: "by chroot(2)" },
    { refuseChroot: true, way: "by a mount namespace, where chroot(2) is refused" },
  ])("is confined with its symlinks, and comes back: $way", async ({ refuseChroot }) => {
    const root = mkdtempSync(join(tmpdir(), "tsbuild-door-"));
    try {
      mkdirSync(join(root, "target"));
      symlinkSync("/target", join(root, "absolute"));
      symlinkSync("../../../../../../target", join(root, "climbing"));
      const here = readdirSync("/");
      await stat("/");
      const worker = new Worker(thread, { workerData: { root, refuseChroot } });
      const [seen] = (await once(worker, "message")) as [Record<string, unknown>];
      await worker.terminate();
      const inside = ["absolute", "climbing", "mode-first", "target"];
      expect(seen).toEqual({
        first: inside,
        "first async": "outside",
        "first after": "first",
        second: [...inside.slice(0, 3), "mode-second", "target"],
        "second async": "outside",
        "second after": "second",
      });
      // Its umask is its own as well.
      expect(statSync(join(root, "mode-first")).mode & 0o777).toBe(0o777);
      expect(readdirSync("/")).toEqual(here);
      expect(process.cwd()).toBe(directory.slice(0, directory.indexOf("/node_modules/")));
    } finally {
      rmSync(root, { recursive: true, force: true });
    }
  });
});

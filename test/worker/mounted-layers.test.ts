import { execFileSync } from "node:child_process";
import { createHash } from "node:crypto";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { gzipSync } from "node:zlib";
import { afterAll, beforeAll, beforeEach, describe, expect, test } from "vitest";
import { rawTar } from "../support/layer-changes.js";
import type { MountedAnswer, MountedCase, MountedOutcome, MountedView } from "./mounted-case.js";
import { randomLayer, type RandomEntry, randomOf } from "./mounted-random.js";
import { bundleForChildren } from "./snapshot-bundle.js";
import type { State } from "./snapshot-scenario.js";
import { askChild, unplayable } from "./snapshot-suite.js";

const SEEDS = Number(process.env["TSBUILD_FUZZ_RUNS"] ?? 20);
const directory = mkdtempSync(join(process.cwd(), "node_modules/.cache", "tsbuild-mounted-"));
afterAll(() => rmSync(directory, { recursive: true, force: true }));

let names = 0;
function layer(tar: Buffer, compression: "none" | "gzip" = "none"): MountedCase["layers"][number] {
  const path = join(directory, `${(names += 1)}.layer`);
  writeFileSync(path, compression === "none" ? tar : gzipSync(tar, { level: 1 }));
  return { path, hex: createHash("sha256").update(tar).digest("hex"), compression };
}

const dir = (path: string, more: Partial<RandomEntry> = {}): RandomEntry => ({
  path,
  type: "directory",
  mode: 0o755,
  ...more,
});
const link = (path: string, linkTarget: string): RandomEntry => ({
  path,
  type: "symlink",
  mode: 0o777,
  linkTarget,
});

function many(): readonly RandomEntry[] {
  const files = Array.from({ length: 3000 }, (_, i) => ({
    path: `big/${String(i).padStart(1 + (i % 200), "0")}-`,
    content: String(i),
  }));
  return [dir("big"), ...files.toReversed()];
}

/** Around the room behind an inode, a block, and the longest. */
const TARGETS = [1, 60, 440, 447, 448, 449, 511, 512, 513, 1024, 4095];
const SIZES = [0, 1, 511, 512, 513, 4095, 4096, 4097, 70_000, 3 << 20];

function sparseTar(): Buffer {
  const script =
    "truncate -s 1M hole; echo end >> hole; echo other > other; tar --format=gnu --sparse -cf - hole other";
  const place = mkdtempSync(join(directory, "sparse-"));
  return execFileSync("sh", ["-ec", script], { cwd: place });
}

const BASE = rawTar([
  dir("a", { mode: 0o710, uid: 7, mtimeNs: 5n, xattrs: new Map([["user.k", Buffer.from("v")]]) }),
  dir("a/b", { mode: 0o1777 }),
  { path: "a/b/lower", content: "lower" },
  { path: "a/c", content: "c" },
]);

const CASES = {
  directories: [layer(rawTar(many()), "gzip")],
  symlinks: [layer(rawTar(TARGETS.map((n) => link(`l${n}`, "t".repeat(n)))))],
  sizes: [
    layer(
      rawTar(SIZES.map((n) => ({ path: `f${n}`, content: "ab".repeat(n).slice(0, n) }))),
      "gzip",
    ),
  ],
  // The directories that the upper layer does not describe look like those below.
  implied: [
    layer(BASE, "gzip"),
    layer(
      rawTar([
        { path: "a/b/upper", content: "u" },
        { path: "new/deep/file", content: "n" },
      ]),
    ),
  ],
  opaque: [
    layer(BASE),
    layer(rawTar([{ path: ".wh..wh..opq" }, dir("a"), { path: "a/only", content: "o" }])),
  ],
  sparse: [layer(sparseTar())],
  lowerLink: [layer(BASE), layer(rawTar([{ path: "x", type: "hardlink", linkTarget: "a/c" }]))],
  hidden: [
    layer(
      rawTar([
        { path: "zero", type: "char", devMajor: 0, devMinor: 0 },
        { path: "null", type: "char", devMajor: 1, devMinor: 3, mode: 0o666 },
        { ...link("l", "t"), xattrs: new Map([["user.k", Buffer.from("v")]]) },
        { path: "f", content: "f", xattrs: new Map([["com.apple.k", Buffer.from("v")]]) },
      ]),
    ),
  ],
  cut: [layer(rawTar([{ path: "f", content: "f" }]).subarray(0, 1024))],
  huge: [
    layer(
      rawTar([{ path: "f", content: "f", xattrs: new Map([["user.k", Buffer.alloc(65_536)]]) }]),
    ),
  ],
  twice: [layer(BASE), layer(BASE)],
} satisfies Record<string, MountedCase["layers"]>;

const DAMAGE = ["tar", "image", "byte"] as const;

const because = unplayable("root");
const title = `mounted layers${because === undefined ? "" : `: ${because}`}`;
describe.skipIf(because !== undefined)(title, () => {
  let answer: MountedAnswer;
  const outcomeOf = (name: keyof typeof CASES): MountedOutcome =>
    at(Object.keys(CASES).indexOf(name));
  const at = (index: number): MountedOutcome => {
    const outcome = answer.outcomes[index];
    if (outcome === undefined) throw new Error(`no outcome ${index}`);
    return outcome;
  };
  beforeAll(async () => {
    using bundle = await bundleForChildren("mounted-child");
    const random = Array.from({ length: SEEDS }, (_, seed) => randomCase(seed));
    const named = Object.values(CASES).map((layers) => ({ layers }));
    const damaged = DAMAGE.map((damage) => ({ layers: [layer(BASE, "gzip")], damage }));
    answer = askChild(bundle, [...named, ...damaged, ...random], "root") as MountedAnswer;
  });
  beforeEach((context) => {
    if (answer.refused !== undefined) context.skip(answer.refused);
  });

  test.each(["directories", "symlinks", "sizes", "implied", "opaque", "cut", "hidden"] as const)(
    "layers with %s are shown as if they were unpacked, by mounts",
    (name) => {
      const { unpacked, mounted } = outcomeOf(name);
      expect(comparable(mounted)).toEqual(comparable(unpacked));
      expect(good(mounted).isMount).not.toContain(false);
    },
  );

  test.each(["sparse", "huge"] as const)(
    "a layer with what no image can have is unpacked (%s)",
    (name) => {
      const { unpacked, mounted } = outcomeOf(name);
      expect(comparable(mounted)).toEqual(comparable(unpacked));
      if (mounted.error === undefined) expect(mounted.isMount).toEqual([false]);
    },
  );

  test("a hard link to a file of another layer is the error that it is unpacked", () => {
    const { unpacked, mounted } = outcomeOf("lowerLink");
    expect(mounted.error).toMatch(/its link target "a\/c" is not there/);
    expect(mounted.error).toBe(unpacked.error);
  });

  test("what is left out is said in the same words", () => {
    const { mounted, unpacked } = outcomeOf("hidden");
    expect(good(mounted).warnings.toSorted()).toEqual(good(unpacked).warnings.toSorted());
    expect(good(mounted).warnings).toHaveLength(3);
  });

  test("the tar of a layer that is stored as one is not stored twice", () => {
    expect(outcomeOf("symlinks").links).toEqual([2]);
    expect(outcomeOf("sizes").links).toEqual([1]);
  });

  test("two equal layers are one mount", () => {
    expect(good(outcomeOf("twice").mounted).isMount).toEqual([true]);
  });

  test.each(DAMAGE.map((damage, index) => ({ damage, index })))(
    "a kept layer with a damaged $damage is made anew, and that is said",
    ({ index }) => {
      const { unpacked, mounted } = at(Object.keys(CASES).length + index);
      expect(comparable(mounted)).toEqual(comparable(unpacked));
      expect(good(mounted).isMount).toEqual([true]);
      expect(good(mounted).warnings).toEqual([expect.stringMatching(/image.* damaged/)]);
    },
  );

  test(`${SEEDS} random stacks of layers are shown as if they were unpacked`, () => {
    const random = answer.outcomes.slice(Object.keys(CASES).length + DAMAGE.length);
    for (const [seed, { unpacked, mounted }] of random.entries()) {
      // Of several layers that are wrong, any may be the first.
      if (unpacked.error !== undefined) expect(mounted.error, `seed ${seed}`).toBeDefined();
      else expect(comparable(mounted), `seed ${seed}`).toEqual(comparable(unpacked));
    }
    const shown = random.filter(({ mounted }) => mounted.error === undefined);
    expect(shown.length).toBeGreaterThan(SEEDS / 3);
    expect(shown.every(({ mounted }) => !good(mounted).isMount.includes(false))).toBe(true);
  });

  test("nothing stays mounted or lies about", () => {
    expect(answer.isLeft).toBe(false);
    expect(answer.left.filter((name) => !name.endsWith(".index"))).toEqual([]);
  });
});

function randomCase(seed: number): MountedCase {
  const random = randomOf(seed);
  const count = 1 + random(3);
  return {
    layers: Array.from({ length: count }, () => {
      const tar = rawTar(randomLayer(random));
      return layer(tar, random(2) === 0 ? "gzip" : "none");
    }),
  };
}

function good(view: MountedView): Exclude<MountedView, { error: string }> {
  if (view.error !== undefined) throw new Error(view.error);
  return view;
}

/** Without what nobody sees, and what unpacking gives that no layer says: times of whiteouts and of a root that is implied. */
function comparable(view: MountedView): unknown {
  if (view.error !== undefined) return view.error.replace(/, at \/.*/, "");
  const settle = (state: State): State =>
    Object.fromEntries(
      Object.entries(state).map(([path, line]) => [
        path,
        /^20000 \d+:\d+ .* device 0$/.test(line)
          ? "whiteout"
          : line.includes("implied-root")
            ? line.replace(/^.*? mtime -?\d+ /, "")
            : line,
      ]),
    );
  return { lowers: view.lowers.map(settle), merged: settle(view.merged) };
}

import { execFileSync } from "node:child_process";
import { createHash, randomBytes } from "node:crypto";
import {
  appendFileSync,
  chmodSync,
  existsSync,
  lstatSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  statSync,
  writeFileSync,
} from "node:fs";
import { join } from "node:path";
import { setTimeout as delay } from "node:timers/promises";
import { gzipSync } from "node:zlib";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { type TarHeader, tarHeader, TRAILER } from "../../src/layer/index.js";
import { diffIdFromHex, hexOf } from "../../src/oci/digest.js";
import { createLayerHost } from "../../src/worker/layer-host.js";
import type { LayerHost, SnapshotDriver } from "../../src/worker/layer-host-types.js";
import { openFileCalls } from "../../src/worker/linux/files.js";
import { loadLibc } from "../../src/worker/linux/libc.js";
import type { LayerBlob } from "../../src/worker/types.js";
import { type Bundle, bundleForChildren } from "./snapshot-bundle.js";
import { playAll, unplayable } from "./snapshot-suite.js";

const because = process.getuid?.() === 0 ? undefined : "needs root to make owners";
const signal = new AbortController().signal;
const OPTIONS = { compression: "none", format: "oci" } as const;

/** Without the marks of their use. */
function layersIn(directory: string): readonly string[] {
  return readdirSync(directory).filter((name) => !name.endsWith(".used"));
}

describe.skipIf(because !== undefined)(`a layer host${because ?? ""}`, () => {
  let bundle: Bundle;
  let place: string;
  beforeAll(async () => {
    bundle = await bundleForChildren();
    place = mkdtempSync(join(process.cwd(), "node_modules/.cache/tsbuild-host-"));
  });
  afterAll(() => {
    rmSync(place, { recursive: true, force: true });
    bundle[Symbol.dispose]();
  });

  /** A host with directories of its own, or those of another. */
  function open(driver: SnapshotDriver, layers = mkdtempSync(join(place, "layers-"))) {
    const staging = mkdtempSync(join(place, "staging-"));
    const host: LayerHost = createLayerHost({
      staging,
      layersDirectory: layers,
      idMap: "test",
      driver,
      singleId: false,
      threadFile: bundle.threadFile,
    });
    return { host, staging, layers };
  }

  function layer(...entries: readonly Partial<TarHeader & { content: string }>[]): LayerBlob {
    return blobOf(tarOf(...entries));
  }

  function blobOf(tar: Buffer): LayerBlob {
    const hex = createHash("sha256").update(tar).digest("hex");
    const path = join(place, `${hex}.tar`);
    writeFileSync(path, tar);
    return { diffId: diffIdFromHex(hex), path, compression: "none" };
  }

  const directory = (path: string, mode = 0o755, more: Partial<TarHeader> = {}) =>
    ({ path, type: "directory", mode, ...more }) as const;

  test("a directory that a layer only implies looks like that of the layers below, under each base", async () => {
    const xattrs = new Map([["user.note", Buffer.from("below")]]);
    const one = layer(directory(".", 0o751), directory("app", 0o700, { uid: 5, gid: 6, xattrs }));
    const other = layer(directory("app", 0o2775, { gid: 7 }));
    const incomplete = layer({ path: "app/new/x", content: "x" });
    const { host, layers } = open("overlay");
    await using _host = host;
    for (const [base, mode, owner] of [
      [one, 0o40700, "5:6"],
      [other, 0o42775, "0:7"],
    ] as const) {
      await using root = await host.prepare([base, incomplete], signal);
      const mount = root.begin();
      if (mount.kind !== "overlay") throw new Error("no overlay");
      expect(mount.lower).toHaveLength(2);
      const app = lstatSync(join(mount.lower[0]!, "app"));
      expect(app.mode).toBe(mode);
      expect(`${app.uid}:${app.gid}`).toBe(owner);
      expect(app.mtimeMs).toBe(1000);
      expect(statSync(join(mount.lower[0]!, "app/new")).mode).toBe(0o40755);
      expect(statSync(mount.upper).mode).toBe(base === one ? 0o40751 : 0o40755);
      root.end();
      if (base === one) {
        const value = openFileCalls(loadLibc()).getXattr(join(mount.lower[0]!, "app"), "user.note");
        expect(value?.toString()).toBe("below");
      }
    }
    expect(layersIn(layers).filter((name) => name.startsWith("chain-"))).toHaveLength(2);
    expect(existsSync(join(layers, hexOf(incomplete.diffId)))).toBe(false);
  });

  describe("a layer that is still coming", () => {
    const content = randomBytes(600_000).toString("hex");
    const half = 300_000;

    /** Its blob so far, under the name that it has until it is whole. */
    function begin(): { readonly blob: LayerBlob; readonly bytes: Buffer; readonly early: string } {
      const whole = layer(directory("a"), { path: "a/x", content });
      const bytes = gzipSync(readFileSync(whole.path));
      rmSync(whole.path);
      const early = `${whole.path}.coming`;
      writeFileSync(early, bytes.subarray(0, half));
      const coming = { path: early, size: bytes.length };
      return { blob: { ...whole, compression: "gzip", coming }, bytes, early };
    }

    test("is unpacked with what there is, and is there when the rest has come", async () => {
      const { host, layers } = open("overlay");
      await using _host = host;
      const { blob, bytes, early } = begin();
      const unpacked = host.unpackAhead([blob], signal);
      await delay(100);
      expect(layersIn(layers)).toEqual([]);
      appendFileSync(early, bytes.subarray(half));
      renameSync(early, blob.path);
      await unpacked;
      const [kept = ""] = layersIn(layers);
      expect(readFileSync(join(layers, kept, "a/x"), "utf8")).toBe(content);
    });

    test("is read under its own name by who comes when it is whole", async () => {
      const { host, layers } = open("overlay");
      await using _host = host;
      const { blob, bytes, early } = begin();
      rmSync(early);
      writeFileSync(blob.path, bytes);
      await host.unpackAhead([blob], signal);
      expect(layersIn(layers)).toEqual([hexOf(blob.diffId)]);
    });

    test("that does not come leaves nothing, and its thread is free again", async () => {
      const { host, layers, staging } = open("overlay");
      await using _host = host;
      const stop = new AbortController();
      const { blob } = begin();
      const unpacked = host.unpackAhead([blob], stop.signal);
      await delay(100);
      stop.abort();
      await expect(unpacked).rejects.toMatchObject({ code: "ABORTED" });
      expect([...layersIn(layers), ...readdirSync(staging)]).toEqual([]);
      await host.unpackAhead([layer(directory("b"))], signal);
      expect(layersIn(layers)).toHaveLength(1);
    });

    test("and turns out to be another one leaves nothing", async () => {
      const { host, layers, staging } = open("overlay");
      await using _host = host;
      const { blob, early } = begin();
      const other = gzipSync(tarOf(directory("c")));
      writeFileSync(early, other);
      const coming = { path: early, size: other.length };
      const failed = host.unpackAhead([{ ...blob, coming }], signal);
      await expect(failed).rejects.toMatchObject({ code: "STORE_FAILED" });
      expect([...layersIn(layers), ...readdirSync(staging)]).toEqual([]);
    });
  });

  test("a layer is unpacked once, however many roots ask for it at the same time", async () => {
    const shared = layer(directory("a"), { path: "a/x", content: "x" });
    const { host, layers, staging } = open("overlay");
    await using _host = host;
    const roots = await Promise.all([1, 2, 3].map(() => host.prepare([shared], signal)));
    expect(layersIn(layers)).toEqual([hexOf(shared.diffId)]);
    const indexes = await host.takeIndexes();
    expect(indexes.map(({ diffId }) => diffId)).toEqual([shared.diffId]);
    expect(statSync(indexes[0]!.file).size).toBeGreaterThan(0);
    expect(await host.takeIndexes()).toEqual([]);
    for (const root of roots) await root[Symbol.asyncDispose]();
    expect(readdirSync(staging)).toHaveLength(1); // the index
  });

  test("a layer that another build unpacked is taken as it is", async () => {
    const { host, layers } = open("overlay");
    await using _host = host;
    const gone = { ...layer({ path: "x", content: "never read" }), path: join(place, "absent") };
    mkdirSync(join(layers, hexOf(gone.diffId)));
    await using root = await host.prepare([gone], signal);
    expect(root.begin()).toMatchObject({ lower: [join(layers, hexOf(gone.diffId))] });
  });

  test("equal layers, and empty ones, are mounted once each", async () => {
    const empty = blobOf(Buffer.from(TRAILER));
    const one = layer({ path: "x", content: "1" });
    const { host } = open("overlay");
    await using _host = host;
    await using root = await host.prepare([one, empty, one, empty, empty], signal);
    const mount = root.begin();
    expect(mount.kind === "overlay" && mount.lower).toHaveLength(2);
  });

  test("two builds that seal the same layer share its directory", async () => {
    const first = open("overlay");
    const second = open("overlay", first.layers);
    const base = layer(directory("."), directory("d"));
    const diffIds: string[] = [];
    for (const { host, staging } of [first, second]) {
      await using _host = host;
      await using root = await host.prepare([base], signal);
      const mount = root.begin();
      if (mount.kind !== "overlay") throw new Error("no overlay");
      // What a mount would have left there.
      writeFileSync(join(mount.upper, "new"), "same");
      for (const path of ["new", "."]) {
        execFileSync("touch", ["-d", "@5", join(mount.upper, path)]);
      }
      root.end();
      const { layer: sealed } = await root.seal(OPTIONS, signal);
      diffIds.push(sealed.diffId);
      expect(root.begin()).toMatchObject({
        lower: [join(first.layers, hexOf(sealed.diffId)), join(first.layers, hexOf(base.diffId))],
      });
      root.end();
      await root[Symbol.asyncDispose]();
      expect(readdirSync(staging).filter((name) => !/\.(blob|index)$/.test(name))).toEqual([]);
    }
    expect(diffIds[0]).toBe(diffIds[1]);
    expect(layersIn(first.layers)).toHaveLength(2);
  });

  test("a damaged layer fails and leaves nothing behind", async () => {
    const good = layer({ path: "x", content: "x" });
    const bad = { ...layer({ path: "y", content: "y" }), diffId: good.diffId };
    const { host, layers, staging } = open("overlay");
    await using _host = host;
    await expect(host.prepare([bad], signal)).rejects.toMatchObject({ code: "STORE_FAILED" });
    expect(readdirSync(layers)).toEqual([]);
    expect(readdirSync(staging)).toEqual([]);
    // The host goes on.
    await using root = await host.prepare([good], signal);
    expect(root.begin().kind).toBe("overlay");
  });

  test("a large layer, hashed in a second thread, is unpacked; a damaged one fails and leaves nothing behind", async () => {
    const content = randomBytes(3_000_000).toString("hex");
    const good = layer({ path: "x", content }, { path: "y", content });
    const bad = { ...good, diffId: layer({ path: "z", content: "z" }).diffId };
    const { host, layers, staging } = open("overlay");
    await using _host = host;
    await expect(host.prepare([bad], signal)).rejects.toMatchObject({ code: "STORE_FAILED" });
    expect(readdirSync(layers)).toEqual([]);
    expect(readdirSync(staging)).toEqual([]);
    await using root = await host.prepare([good], signal);
    expect(root.begin().kind).toBe("overlay");
    const [name = ""] = readdirSync(layers);
    expect(readFileSync(join(layers, name, "y"), "latin1") === content).toBe(true);
    rmSync(good.path);
  });

  test("a cancelled build stops before, at the start or in the middle of a layer and leaves nothing behind", async () => {
    const content = "x".repeat(4000);
    const many = Array.from({ length: 30_000 }, (_, at) => ({ path: `f${at}`, content }));
    const plain = layer(...many);
    const path = `${plain.path}.gz`;
    writeFileSync(path, gzipSync(readFileSync(plain.path), { level: 1 }));
    const { host, layers, staging } = open("overlay");
    await using _host = host;
    const left = (): string[] => readdirSync(staging).filter((name) => !name.endsWith(".index"));
    const moments: readonly (() => boolean)[] = [
      () => true,
      () => left().length > 0, // its directory is there, the thread is starting
      () => left().some((name) => readdirSync(join(staging, name)).length > 100),
    ];
    for (const reached of moments) {
      const stop = new AbortController();
      const prepared = host.prepare([{ ...plain, path, compression: "gzip" }], stop.signal);
      const settled = expect(prepared).rejects.toMatchObject({ code: "ABORTED" });
      while (!reached()) await delay(1);
      stop.abort();
      await settled;
      expect(readdirSync(layers)).toEqual([]);
      expect(readdirSync(staging)).toEqual([]);
    }
    rmSync(plain.path);
    rmSync(path);
  });

  test.each(["overlay", "plain"] as const)(
    "%s: no path of a crafted layer leads out of its root",
    async (driver) => {
      const outside = mkdtempSync(join(place, "outside-"));
      writeFileSync(join(outside, "kept"), "kept");
      const up = "../".repeat(30);
      const links = layer(
        { path: "up", type: "symlink", linkTarget: `${up}${outside.slice(1)}` },
        { path: "abs", type: "symlink", linkTarget: outside },
      );
      const writes = layer(
        { path: "up/evil", content: "evil" },
        { path: "abs/evil", content: "evil" },
        { path: "abs/.wh.kept" },
        { path: "abs/.wh..wh..opq" },
      );
      const { host } = open(driver);
      await using _host = host;
      await using root = await host.prepare([links, writes], signal);
      root.begin();
      expect(readdirSync(outside)).toEqual(["kept"]);
    },
  );

  test("attributes that the kernel would take for its own are stored under another name", async () => {
    const xattrs = new Map([["user.overlay.opaque", Buffer.from("y")]]);
    const { host } = open("overlay");
    await using _host = host;
    await using root = await host.prepare([layer(directory("d", 0o755, { xattrs }))], signal);
    const mount = root.begin();
    if (mount.kind !== "overlay") throw new Error("no overlay");
    const names = openFileCalls(loadLibc()).listXattrs(join(mount.lower[0]!, "d")).map(String);
    expect(names).toEqual(["user.overlay.overlay.opaque"]);
  });

  test("a layer whose root is opaque hides all that is below it", async () => {
    const below = layer({ path: "x", content: "x" });
    const top = layer({ path: ".wh..wh..opq" }, { path: "y", content: "y" });
    const { host, layers } = open("overlay");
    await using _host = host;
    await using root = await host.prepare([below, top], signal);
    expect(root.begin()).toMatchObject({ lower: [join(layers, hexOf(top.diffId))] });
  });

  test("seal and add are refused while a step runs", async () => {
    const { host } = open("plain");
    await using _host = host;
    await using root = await host.prepare([], signal);
    root.begin();
    await expect(root.seal(OPTIONS, signal)).rejects.toThrow("a step is running");
    root.end();
    await expect(root.seal(OPTIONS, signal)).resolves.toBeDefined();
  });

  test("mount points that were made and removed again are no change of a plain root", async () => {
    const { host } = open("plain");
    await using _host = host;
    await using root = await host.prepare([layer(directory("."), directory("d"))], signal);
    const mount = root.begin();
    if (mount.kind !== "directory") throw new Error("no directory");
    const times = lstatSync(mount.path, { bigint: true });
    mkdirSync(join(mount.path, "proc"));
    rmSync(join(mount.path, "proc"), { recursive: true });
    openFileCalls(loadLibc()).utimes(mount.path, times.mtimeNs);
    writeFileSync(join(mount.path, "d/new"), "x");
    root.end([""]);
    const { blobFile } = await root.seal(OPTIONS, signal);
    const names = execFileSync("tar", ["-tf", blobFile], { encoding: "utf8" });
    expect(names).toBe("d/\nd/new\n");
  });

  test("any tree is deleted: odd modes, odd names, paths longer than the kernel takes", async () => {
    const { host, staging } = open("plain");
    await using _host = host;
    const tree = join(staging, "abandoned");
    mkdirSync(join(tree, "closed/in"), { recursive: true });
    chmodSync(join(tree, "closed"), 0);
    writeFileSync(Buffer.from(`${tree}/\xff\n`, "latin1"), "");
    const deep =
      'for (1 .. 40) { mkdir $n = "d" x 200; chdir $n or die; open F, ">f"; symlink "/", "out" }';
    execFileSync("perl", ["-e", deep], { cwd: tree });
    expect(
      execFileSync("find", [tree, "-name", "f"], { maxBuffer: 1 << 24 }).length,
    ).toBeGreaterThan((4096 * 40) / 2);
    await host.removeTree(tree, signal);
    await host.removeTree(tree, signal);
    expect(readdirSync(staging)).toEqual([]);
  });
});

const refused = unplayable("single-id");
describe.skipIf(refused !== undefined)(
  `one id${refused === undefined ? "" : `: ${refused}`}`,
  () => {
    const base = ["echo x > x; mkdir d"];
    const tarOptions = [["--owner=:1234", "--group=:567", "."]];

    test("owners are dropped where only one id exists and the build knows it, else they are an error that names them", async () => {
      using bundle = await bundleForChildren();
      const scenario = { base, tarOptions, steps: ["echo y > d/y"] };
      const [overlay, plain, strict] = playAll(
        bundle,
        [
          { ...scenario, driver: "overlay", singleId: true },
          { ...scenario, driver: "plain", singleId: true },
          { ...scenario, driver: "overlay" },
        ],
        "single-id",
      );
      for (const outcome of [overlay, plain]) {
        if (outcome === undefined || "error" in outcome) throw new Error(outcome?.error);
        expect(outcome.live["x"]).toMatch(/^100644 0:0 /);
        expect(outcome.layers).toEqual([["d/", "d/y"]]);
        expect(outcome.rebuilt.plain).toEqual(outcome.live);
      }
      expect(strict).toMatchObject({
        error: expect.stringMatching(
          /tried to give \/.* to 1234:567: the id map test has no such id/,
        ),
      });
    });

    test("device nodes that a user namespace refuses are left out, with a word about those outside of dev", async () => {
      using bundle = await bundleForChildren();
      const node = { type: "char", devMajor: 1, devMinor: 3 } as const;
      const tar = tarOf(
        { path: "dev", type: "directory" },
        { path: "dev/null", ...node },
        { path: "odd", ...node },
      );
      const script = `printf %s ${tar.toString("base64")} | base64 -d > layer.tar`;
      const [outcome] = playAll(
        bundle,
        [
          {
            driver: "overlay",
            singleId: true,
            base: [script],
            premade: true,
            steps: ["echo x > x"],
          },
        ],
        "single-id",
      );
      if (outcome === undefined || "error" in outcome) throw new Error(outcome?.error);
      expect(outcome.warnings).toEqual(["/odd: a user namespace has no device nodes"]);
      expect(Object.keys(outcome.live)).toEqual(["", "dev", "x"]);
    });
  },
);

/** A tar of these entries. */
function tarOf(...entries: readonly Partial<TarHeader & { content: string }>[]): Buffer {
  const parts = entries.flatMap(({ content = "", ...entry }) => {
    const body = Buffer.alloc(Math.ceil(content.length / 512) * 512);
    body.write(content);
    const header: TarHeader = {
      path: "",
      type: "file",
      mode: 0o644,
      uid: 0,
      gid: 0,
      mtimeNs: 1_000_000_000n,
      size: content.length,
      xattrs: new Map(),
      ...entry,
    };
    return [tarHeader(header), body];
  });
  return Buffer.concat([...parts, TRAILER]);
}

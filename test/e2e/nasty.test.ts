import { mkdir, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { afterAll, beforeAll, expect, test } from "vitest";
import { nastyBase, pushBase } from "../support/bases.js";
import { BINARY_VALUE, CAP_NET_RAW, HIGH_ID, LONG_PATH } from "../support/bases-nasty.js";
import { startRegistry, type RegistryService } from "../support/services.js";
import { builder, lacksBuild, stackLines, untilNothingIsLeft } from "../support/tools-cli.js";
import {
  byPath,
  factsBelow,
  readLayout,
  unpackBundle,
  type FileFacts,
} from "../support/tools-images.js";
import { lacksRoot, lacksTools, tempDir, type TempDir } from "../support/tools.js";
import { describeUnless, expectCode } from "../support/tools-suite.js";
import { lacksUsers, reachableApp, userWithSubIds } from "../support/users.js";
import { CHECKOUT } from "../support/tools-cli.js";

const TOOLS = ["docker-registry", "skopeo", "umoci", "getfattr", "busybox"];

describeUnless([lacksRoot(), lacksTools(...TOOLS), lacksBuild()], "a nasty base", () => {
  let dir: TempDir;
  let registry: RegistryService;
  let before: ReadonlyMap<string, FileFacts>;

  beforeAll(async () => {
    dir = await tempDir();
    registry = await startRegistry();
    const layout = await nastyBase();
    await pushBase(layout, registry, "library/nasty:latest");
    await pushBase(layout, registry, "library/nasty:v2s2", "v2s2");
    before = await factsBelow(join(await unpackBundle(layout, join(dir.path, "base")), "rootfs"));
  });
  afterAll(async () => {
    await untilNothingIsLeft(dir.path);
    await registry[Symbol.asyncDispose]();
    await dir[Symbol.asyncDispose]();
  });

  const buildIn = async (name: string, dockerfile: string, flags: readonly string[] = []) => {
    const context = join(dir.path, name);
    await mkdir(context);
    await writeFile(join(context, "Dockerfile"), dockerfile);
    await writeFile(join(context, "new-file"), "new\n", { mode: 0o644 });
    const image = join(dir.path, `${name}-image`);
    const store = join(dir.path, `${name}-store`);
    const outcome = await builder({ store, registry }).run([
      "--context",
      context,
      "--dockerfile",
      join(context, "Dockerfile"),
      "--no-push",
      "--oci-layout-path",
      image,
      ...flags,
    ]);
    return { outcome, image };
  };

  test.each([
    ["oci", "latest"],
    ["docker", "v2s2"],
  ])("survives a RUN true and a COPY unchanged (%s media types)", async (form, tag) => {
    const { outcome, image } = await buildIn(
      `survive-${form}`,
      `FROM nasty:${tag}\nRUN ["/bin/true"]\nCOPY new-file /new-file\n`,
    );
    expectCode(outcome, 0);
    const bundle = await unpackBundle(image, join(dir.path, `${form}-unpacked`));
    const after = new Map(await factsBelow(join(bundle, "rootfs")));
    expect(after.get("new-file")).toMatchObject({ type: "file", mode: "644", owner: "0:0" });
    after.delete("new-file");
    expect(Object.fromEntries(after)).toEqual(Object.fromEntries(before));
    const types = (await readLayout(image)).manifest.layers.map((layer) => layer.mediaType);
    expect(types.every((type) => type.includes(form === "oci" ? "vnd.oci" : "vnd.docker"))).toBe(
      true,
    );
  });

  test("shows a RUN what its layers say, and nothing that they hide", async () => {
    const { outcome } = await buildIn(
      "inside",
      `FROM nasty
RUN test ! -e /gone && test ! -e /deleted && test ! -e /veiled/old && test -e /veiled/new
RUN test -d /replaced-by-dir && test -f /replaced-by-file && test -f /long-link
RUN test "$(cat /links/elsewhere/three)" = "one inode, three names" && test /links/one -ef /links/two
`,
    );
    expectCode(outcome, 0);
  });

  test("gives COPY --from devices, capabilities, attributes and ids above the usual as they are", async () => {
    const { outcome, image } = await buildIn(
      "copy-from",
      `FROM nasty AS source
FROM scratch
COPY --from=source /devices/ /devices/
COPY --from=source /capable /attributed /owned /
COPY --from=source /links/ /links/
COPY --from=source /${LONG_PATH}/ /long/
`,
    );
    expectCode(outcome, 0);
    const found = byPath((await readLayout(image)).layers.flat());
    expect(found.get("devices/high")).toMatchObject({ type: "char", major: 300, minor: 70_000 });
    expect(found.get("devices/loop")).toMatchObject({ type: "block", major: 7, minor: 200 });
    expect(found.get("devices/fifo")).toMatchObject({ type: "fifo", mode: 0o640, uid: 5 });
    expect(found.get("capable")?.xattrs.get("security.capability")).toEqual(CAP_NET_RAW);
    expect(found.get("attributed")?.xattrs.get("user.binary")).toEqual(BINARY_VALUE);
    expect(found.get("owned")).toMatchObject({ uid: HIGH_ID, gid: HIGH_ID + 1 });
    expect(found.get("links/self")).toMatchObject({ type: "symlink", linkname: "self" });
    expect(found.get("long/leaf")?.data.toString()).toBe("deep");
  });

  describeUnless([lacksUsers()], "for an ordinary user", () => {
    test("COPY --from keeps devices and ids outside the map, or fails with the path", async () => {
      const user = await userWithSubIds();
      await using app = await reachableApp(CHECKOUT, user);
      await using home = await tempDir();
      const { chown } = await import("node:fs/promises");
      await chown(home.path, user.uid, user.gid);
      const context = join(home.path, "context");
      await mkdir(context, { mode: 0o755 });
      for (const source of ["/owned", "/devices/null"]) {
        const name = source.replaceAll("/", "_");
        await writeFile(
          join(context, "Dockerfile"),
          `FROM nasty AS source\nRUN ["/bin/true"]\nFROM scratch\nCOPY --from=source ${source} /kept\n`,
        );
        const image = join(home.path, `image${name}`);
        const outcome = await builder({
          store: join(home.path, `store${name}`),
          registry,
          user: { user, app },
        }).run(["--context", context, "--no-push", "--oci-layout-path", image]);
        expect(stackLines(outcome)).toEqual([]);
        if (outcome.code === 0) {
          const kept = byPath((await readLayout(image)).layers.flat()).get("kept");
          expect(kept).toMatchObject(
            source === "/owned"
              ? { uid: HIGH_ID, gid: HIGH_ID + 1 }
              : { type: "char", major: 1, minor: 3 },
          );
        } else {
          expect(outcome.stderr).toContain(source.slice(1));
        }
      }
      await untilNothingIsLeft(home.path);
    });
  });
});

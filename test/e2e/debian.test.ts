import { chown, mkdir, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { afterAll, beforeAll, expect, test } from "vitest";
import { debianBase, pushBase } from "../support/bases.js";
import { startRegistry, type RegistryService } from "../support/services.js";
import { builder, CHECKOUT, lacksBuild, untilNothingIsLeft } from "../support/tools-cli.js";
import {
  factsBelow,
  readLayout,
  runBundle,
  unpackBundle,
  type FileFacts,
  type JudgedImage,
} from "../support/tools-images.js";
import { lacksRoot, lacksTools, tempDir, type Outcome, type TempDir } from "../support/tools.js";
import { describeUnless, expectCode } from "../support/tools-suite.js";
import type { TarEntry } from "../support/tools-tar.js";
import { lacksUsers, reachableApp, userWithSubIds } from "../support/users.js";

const TOOLS = ["docker-registry", "skopeo", "umoci", "runc", "mmdebstrap", "getfattr"];
const DOCKERFILE = `FROM debian AS base
ENV DEBIAN_FRONTEND=noninteractive
RUN apt-get update && \\
    apt-get install -y --no-install-recommends hello libcap2-bin && \\
    rm -rf /var/lib/apt/lists/* /var/cache/apt/*.bin

FROM base
RUN useradd --create-home --uid 1234 app && install -d -o app -g www-data -m 2750 /srv/app
RUN install -m 4755 /bin/true /usr/local/bin/set-user && \\
    install -m 2755 -g mail /bin/true /usr/local/bin/set-group && \\
    cp /bin/true /usr/local/bin/capable && setcap cap_net_bind_service+ep /usr/local/bin/capable
RUN echo content > /srv/app/one && ln /srv/app/one /srv/app/two && ln -s one /srv/app/link && \\
    mkfifo /srv/app/fifo && chown -h nobody:nogroup /srv/app/link
RUN rm -rf /etc/issue /usr/share/base-files && rm /srv/app/one && mkdir /usr/share/base-files && \\
    echo new > /usr/share/base-files/only
COPY --chown=app:app --chmod=640 note /home/app/
USER app
RUN test "$(id -un)" = app && touch ~/mine
CMD ["hello"]
`;
/** Files whose content tells when or where a build ran. */
const VOLATILE = /^(var\/log\/|var\/cache\/ldconfig\/|run\/)/;
const PROXIES = ["http_proxy", "https_proxy", "no_proxy"];

const lacks = [lacksRoot(), lacksTools(...TOOLS), lacksUsers(), lacksBuild()];
describeUnless(lacks, "a Debian image with packages, users and capabilities", () => {
  let dir: TempDir;
  let registry: RegistryService;
  let byRoot: { outcome: Outcome; image: string };
  let byUser: { outcome: Outcome; image: string };

  beforeAll(async () => {
    dir = await tempDir();
    registry = await startRegistry();
    await pushBase(await debianBase(), registry, "library/debian:latest");
    const context = join(dir.path, "context");
    await mkdir(context);
    await writeFile(join(context, "Dockerfile"), DOCKERFILE);
    await writeFile(join(context, "note"), "note\n", { mode: 0o644 });
    const user = await userWithSubIds();
    await using app = await reachableApp(CHECKOUT, user);
    const { chmod } = await import("node:fs/promises");
    await chmod(dir.path, 0o755);
    const flags = (image: string): readonly string[] => [
      "--context",
      context,
      "--no-push",
      "--oci-layout-path",
      image,
      ...PROXIES.filter((name) => process.env[name] !== undefined).map(
        (name) => `--build-arg=${name}=${process.env[name]}`,
      ),
    ];
    const mine = join(dir.path, "mine");
    await mkdir(mine);
    await chown(mine, user.uid, user.gid);
    const images = { root: join(dir.path, "image"), user: join(mine, "image") };
    byRoot = {
      image: images.root,
      outcome: await builder({ store: join(dir.path, "store"), registry }).run(flags(images.root)),
    };
    byUser = {
      image: images.user,
      outcome: await builder({
        store: join(mine, "store"),
        registry,
        user: { user, app },
      }).run(flags(images.user)),
    };
  }, 600_000);
  afterAll(async () => {
    await untilNothingIsLeft(dir.path);
    await registry[Symbol.asyncDispose]();
    await dir[Symbol.asyncDispose]();
  });

  test("builds as root and as an ordinary user with subordinate ids", () => {
    expectCode(byRoot.outcome, 0);
    expectCode(byUser.outcome, 0);
  });

  test("gives both the same layers: paths, content, modes, owners, links, capabilities", async () => {
    const [root, user] = [await readLayout(byRoot.image), await readLayout(byUser.image)];
    expect(user.layers).toHaveLength(root.layers.length);
    for (const [i, layer] of root.layers.entries()) {
      expect(comparable(user.layers[i] ?? [])).toEqual(comparable(layer));
    }
    expect(withoutTimes(user)).toEqual(withoutTimes(root));
  });

  test("keeps set-id bits, owners, capabilities, hard links and deletions, as umoci unpacks them", async () => {
    const bundle = await unpackBundle(byUser.image, join(dir.path, "unpacked"));
    const facts = await factsBelow(join(bundle, "rootfs"));
    const fact = (path: string): Partial<FileFacts> => facts.get(path) ?? {};
    expect(fact("usr/local/bin/set-user")).toMatchObject({ mode: "4755", owner: "0:0" });
    expect(fact("usr/local/bin/set-group")).toMatchObject({ mode: "2755", owner: "0:8" });
    // VFS_CAP_REVISION_2 with CAP_NET_BIND_SERVICE permitted and effective.
    expect(fact("usr/local/bin/capable").xattrs).toEqual({
      "security.capability": "0x0100000200040000000000000000000000000000",
    });
    expect(fact("srv/app")).toMatchObject({ type: "dir", mode: "2750", owner: "1234:33" });
    expect(fact("srv/app/two")).toMatchObject({
      type: "file",
      content: fact("srv/app/two").content,
    });
    expect(facts.has("srv/app/one")).toBe(false);
    expect(fact("srv/app/link")).toMatchObject({ type: "symlink", owner: "65534:65534" });
    expect(fact("srv/app/fifo")).toMatchObject({ type: "fifo" });
    expect(facts.has("etc/issue")).toBe(false);
    const below = [...facts.keys()].filter((path) => path.startsWith("usr/share/base-files/"));
    expect(below).toEqual(["usr/share/base-files/only"]);
    expect(fact("home/app/note")).toMatchObject({ mode: "640", owner: "1234:1234" });
    expect(fact("home/app/mine")).toMatchObject({ owner: "1234:1234" });
    const run = await runBundle(bundle);
    expect(run).toMatchObject({ code: 0, stdout: "Hello, world!\n" });
  });
});

/** A layer as the Dockerfile determines it: everything except times, and the content of logs and caches. */
function comparable(layer: readonly TarEntry[]): Readonly<Record<string, unknown>> {
  return Object.fromEntries(
    layer.map((entry) => [
      entry.name.replace(/\/$/, ""),
      {
        type: entry.type,
        mode: entry.mode.toString(8),
        owner: `${entry.uid}:${entry.gid}`,
        link: entry.linkname,
        device: `${entry.major}:${entry.minor}`,
        xattrs: [...entry.xattrs].map(([name, value]) => `${name}=${value.toString("hex")}`).sort(),
        data: VOLATILE.test(entry.name.replace(/^\.?\//, "")) ? "" : entry.data.toString("latin1"),
      },
    ]),
  );
}

function withoutTimes(image: JudgedImage): unknown {
  const { config, architecture, os, history } = image.config;
  return { config, architecture, os, history: history?.map((step) => step.created_by) };
}

import { existsSync } from "node:fs";
import { cp, mkdir, readFile, rm, writeFile } from "node:fs/promises";
import { dirname, join } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { startGitServer } from "../context/git-server.js";
import { busyboxBase, debianBase } from "../support/bases.js";
import {
  executorBase,
  executorImage,
  executorPackages,
  imageFlags,
} from "../support/executor-image.js";
import { CHECKOUT, lacksBuild } from "../support/tools-cli.js";
import {
  byPath,
  readLayout,
  runBundle,
  unpackBundle,
  type JudgedImage,
} from "../support/tools-images.js";
import {
  lacksRoot,
  lacksTools,
  mustRun,
  tempDir,
  type Outcome,
  type TempDir,
} from "../support/tools.js";
import { describeUnless, expectCode } from "../support/tools-suite.js";

const BUDGET = 45e6; // compressed bytes
/** The first layers are the slim image: the tools, and tsbuild. */
const SLIM_LAYERS = 2;
const SETUP_MS = 600_000;
/** What containerd gives to a container that asks for nothing. */
const DEFAULT_CAPABILITIES = [
  ..."CHOWN DAC_OVERRIDE FSETID FOWNER MKNOD NET_RAW SETGID SETUID".split(" "),
  ..."SETFCAP SETPCAP NET_BIND_SERVICE SYS_CHROOT KILL AUDIT_WRITE".split(" "),
].map((name) => `CAP_${name}`);
/** Revision 2 of the kernel's struct vfs_cap_data, effective: one permitted capability, by number. */
const fileCapability = (number: number): string =>
  Buffer.from(Uint32Array.of(0x02000001, 1 << number, 0, 0, 0).buffer).toString("hex");

const TOOLS = ["mmdebstrap", "npm", "skopeo", "umoci", "busybox"];
const lacks = [lacksRoot(), lacksTools(...TOOLS), lacksTools("runc"), lacksBuild()];
describeUnless(lacks, "the executor image", () => {
  let dir: TempDir;
  let image: JudgedImage;
  let bundle: string;

  beforeAll(async () => {
    const layout = await executorImage(CHECKOUT);
    dir = await tempDir("tsbuild-executor-");
    image = await readLayout(layout);
    bundle = await unpackBundle(layout, dir.path);
  }, SETUP_MS);
  afterAll(() => dir?.[Symbol.asyncDispose]());

  const inRoot = (path: string): string => join(bundle, "rootfs", path);
  const runImage = async (args: readonly string[], change: Change = {}): Promise<Outcome> => {
    await configure(bundle, change);
    return runBundle(bundle, ["/kaniko/executor", ...args]);
  };

  test("is small, and says what Kaniko's says", () => {
    const sizes = image.manifest.layers.map(({ size }) => size);
    expect(sizes.reduce((sum, size) => sum + size, 0)).toBeLessThanOrEqual(BUDGET);
    const { Entrypoint, Env, WorkingDir } = image.config.config;
    expect(Entrypoint).toEqual(["/kaniko/executor"]);
    expect(WorkingDir).toBe("/workspace");
    for (const line of [
      "HOME=/root",
      "USER=root",
      "DOCKER_CONFIG=/kaniko/.docker/",
      "SSL_CERT_DIR=/kaniko/ssl/certs",
    ]) {
      expect(Env).toContain(line);
    }
  });

  test("has all its programs and libraries below /kaniko, so that the slim image fits into any other", () => {
    const slim = image.layers.slice(0, SLIM_LAYERS).flatMap((layer) => [...byPath(layer).keys()]);
    const outside = slim.filter((path) => !/^kaniko(\/|$)/.test(path));
    expect([...new Set(outside)].filter((path) => path !== "").sort()).toEqual([
      "usr",
      "usr/local",
      "usr/local/bin",
      "usr/local/bin/tsbuild",
    ]);
    const all = byPath(image.layers.flat());
    expect(all.get("var/run")).toMatchObject({ type: "symlink", linkname: "/run" });
    for (const path of ["kaniko", "tmp", "root", "workspace"]) {
      expect(all.get(path), path).toMatchObject({ type: "dir", mode: 0o1777 });
    }
  });

  test("gives newuidmap and newgidmap their capabilities, and no set-id bit to anything", () => {
    const all = byPath(image.layers.flat());
    for (const [name, number] of [
      ["newuidmap", 7],
      ["newgidmap", 6],
    ] as const) {
      const value = all.get(`kaniko/bin/${name}`)?.xattrs.get("security.capability");
      expect(value?.toString("hex"), name).toBe(fileCapability(number));
    }
    const special = [...all].filter(([, { type, mode }]) => type === "file" && mode > 0o777);
    expect(special).toEqual([]);
  });

  describe("run by runc", () => {
    test("answers, also in the midst of what a base image may carry", async () => {
      await mkdir(inRoot("lib/x86_64-linux-gnu"), { recursive: true });
      await writeFile(inRoot("etc/ld.so.preload"), "/evil.so\n");
      await writeFile(inRoot("etc/ld.so.cache"), "junk");
      await writeFile(inRoot("evil.so"), "junk");
      await writeFile(inRoot("etc/nsswitch.conf"), "hosts: evil dns\n");
      for (const name of ["libm.so.6", "libc.so.6", "libnss_evil.so.2"]) {
        await writeFile(inRoot(`lib/x86_64-linux-gnu/${name}`), "junk");
      }
      const outcome = await runImage(["--version"]);
      expectCode(outcome, 0);
      expect(outcome.stdout).toMatch(/^tsbuild \d/);
      expect(outcome.stderr).toBe("");
    });

    test("answers any user, with a root filesystem that is read-only", async () => {
      const user = { uid: 1_000_650_000, gid: 0 };
      const outcome = await runImage(["--version"], { user, readonly: true, capabilities: [] });
      expectCode(outcome, 0);
      expect(outcome.stdout).toMatch(/^tsbuild \d/);
    });

    test("builds as root with what a container has by default", async () => {
      const context = inRoot("workspace/context");
      await cp(await busyboxBase(), inRoot("workspace/base"), { recursive: true });
      await mkdir(context, { recursive: true });
      const lines = [
        "FROM base",
        "RUN touch /mine && chown 123:456 /mine && id -u && test ! -e /kaniko",
        "COPY Dockerfile /copied",
      ];
      await writeFile(join(context, "Dockerfile"), `${lines.join("\n")}\n`);
      const outcome = await runImage([
        "--context=/workspace/context",
        "--build-context=base=oci-layout:///workspace/base",
        "--no-push",
        "--oci-layout-path=/workspace/built",
        "--digest-file=/workspace/digest",
      ]);
      expectCode(outcome, 0);
      const built = await readLayout(inRoot("workspace/built"));
      expect(await readFile(inRoot("workspace/digest"), "utf8")).toBe(built.digest);
      const files = byPath(built.layers.slice(1).flat());
      expect(files.get("mine")).toMatchObject({ uid: 123, gid: 456 });
      expect(files.has("copied")).toBe(true);
    });

    test("fetches from git with programs of its own, whatever a base image carries", async () => {
      await using server = await startGitServer();
      server.commit("inner", { deep: "deep\n" });
      server.publish("inner");
      server.commit("outer", { file: "outer\n" });
      server.git("outer", "submodule", "add", "-q", "--", `${server.root}/inner`, "mid");
      server.git("outer", "config", "-f", ".gitmodules", "submodule.mid.url", "../inner.git");
      server.commit("outer", {}, "with a submodule");
      server.publish("outer");
      for (const path of ["bin/sh", "usr/bin/ssh", "usr/lib/git-core/git-remote-http"]) {
        await mkdir(inRoot(dirname(path)), { recursive: true });
        await writeFile(inRoot(path), "#!/kaniko/bin/sh\n: >/witness\n", { mode: 0o755 });
      }
      const context = inRoot("workspace/git");
      await mkdir(context, { recursive: true });
      const url = server.url("token", "outer.git");
      await writeFile(join(context, "Dockerfile"), `FROM scratch\nADD ${url} /added\n`);
      await writeFile(inRoot("workspace/token"), "hunter2hunter2");
      const mounts = { "/etc/resolv.conf": "/etc/resolv.conf" };
      const flags = [
        "--context=/workspace/git",
        "--secret=id=GIT_AUTH_TOKEN,src=/workspace/token",
        "--no-push",
        "--oci-layout-path=/workspace/from-git",
      ];
      expectCode(await runImage(flags, { mounts }), 0);
      const files = byPath((await readLayout(inRoot("workspace/from-git"))).layers.flat());
      expect([...files.keys()]).toEqual(
        expect.arrayContaining(["added/file", "added/mid/deep", "added/.gitmodules"]),
      );
      expect(existsSync(inRoot("witness"))).toBe(false);
    });

    test("has an ssh that needs no line in /etc/passwd for its user", async () => {
      const context = inRoot("workspace/ssh");
      await mkdir(context, { recursive: true });
      const lines = ["FROM scratch", "ADD ssh://git@127.0.0.1:1/repo.git /added"];
      await writeFile(join(context, "Dockerfile"), `${lines.join("\n")}\n`);
      await rm(inRoot("etc/passwd"));
      const flags = ["--context=/workspace/ssh", "--no-push", "--store=/tmp/ssh-store"];
      const outcome = await runImage(flags, { user: { uid: 1234, gid: 0 } });
      expect(outcome.code).toBe(66);
      expect(outcome.stderr).toMatch(/ssh: connect to host 127\.0\.0\.1 port 1: /);
    });

    test.each([
      ["busybox alone", busyboxBase],
      ["a Debian, which has a libc of its own", debianBase],
    ])("copied into %s, builds there, and needs nothing of it", async (name, base) => {
      const other = await unpackBundle(await base(), join(dir.path, name));
      for (const { digest } of image.manifest.layers.slice(0, SLIM_LAYERS)) {
        const blob = join(await executorImage(CHECKOUT), "blobs", ...digest.split(":"));
        const flags = ["--xattrs", "--xattrs-include=*", "--numeric-owner", "-C"];
        await mustRun("tar", ["-xzpf", blob, ...flags, join(other, "rootfs")]);
      }
      const context = join(other, "rootfs/src");
      await mkdir(context);
      for (const program of ["unshare", "newuidmap", "git", "node"]) {
        await mkdir(join(other, "rootfs/usr/bin"), { recursive: true });
        await rm(join(other, "rootfs/usr/bin", program), { force: true });
        await writeFile(join(other, "rootfs/usr/bin", program), "none of ours\n", { mode: 0o755 });
      }
      await writeFile(join(context, "Dockerfile"), "FROM base\nRUN test ! -e /kaniko && id\n");
      await cp(await busyboxBase(), join(other, "rootfs/base"), { recursive: true });
      await configure(other);
      const from = ["--context=/src", "--build-context=base=oci-layout:///base"];
      const outcome = await runBundle(other, ["/usr/local/bin/tsbuild", ...from, "--no-push"]);
      expectCode(outcome, 0);
    });

    test(
      "builds itself again, to the same layers",
      async () => {
        const mounts = {
          "/src": CHECKOUT,
          "/base": await executorBase(),
          "/packages": await executorPackages(CHECKOUT),
          "/etc/resolv.conf": "/etc/resolv.conf",
        };
        await configure(bundle, { mounts });
        const outcome = await runBundle(bundle, [
          "/kaniko/executor",
          "--context=/src",
          "--dockerfile=/src/deploy/executor/Dockerfile",
          "--reproducible",
          "--compression-level=9",
          ...imageFlags({ base: "/base", packages: "/packages" }),
          "--no-push",
          "--oci-layout-path=/workspace/again",
        ]);
        expectCode(outcome, 0);
        const again = await readLayout(inRoot("workspace/again"));
        expect(again.manifest.layers).toEqual(image.manifest.layers);
      },
      SETUP_MS,
    );
  });
});

interface Change {
  readonly user?: { readonly uid: number; readonly gid: number };
  readonly readonly?: boolean;
  readonly capabilities?: readonly string[];
  /** What this machine has, by its path inside; the network too. */
  readonly mounts?: Readonly<Record<string, string>>;
}

/** Gives the bundle the rights of a Pod, in place of umoci's few. */
async function configure(bundle: string, change: Change = {}): Promise<void> {
  const path = join(bundle, "config.json");
  const config = JSON.parse(await readFile(path, "utf8")) as {
    root: { readonly: boolean };
    process: { user: unknown; capabilities: unknown };
    mounts: { destination: string; type: string; source: string; options: string[] }[];
    linux: { namespaces: { type: string }[] };
  };
  const { user = { uid: 0, gid: 0 }, capabilities = DEFAULT_CAPABILITIES } = change;
  config.root.readonly = change.readonly ?? false;
  config.process.user = user;
  const sets = ["bounding", "permitted", "effective"].map((set) => [set, capabilities] as const);
  config.process.capabilities = Object.fromEntries(sets);
  for (const [destination, source] of Object.entries(change.mounts ?? {})) {
    config.mounts = config.mounts.filter((mount) => mount.destination !== destination);
    config.mounts.push({ destination, source, type: "bind", options: ["bind", "ro"] });
    config.linux.namespaces = config.linux.namespaces.filter(({ type }) => type !== "network");
  }
  await writeFile(path, JSON.stringify(config));
}

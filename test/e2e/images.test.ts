import { mkdir, readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { afterAll, beforeAll, expect, test } from "vitest";
import { busyboxBase, pushBase } from "../support/bases.js";
import { startRegistry, type RegistryService } from "../support/services.js";
import {
  builder,
  CHECKOUT,
  lacksBuild,
  plainEnvironment,
  untilNothingIsLeft,
  type Builder,
} from "../support/tools-cli.js";
import {
  byPath,
  copyToLayout,
  factsBelow,
  readLayout,
  runBundle,
  unpackBundle,
} from "../support/tools-images.js";
import { lacksRoot, lacksTools, mustRun, tempDir, type TempDir } from "../support/tools.js";
import { describeUnless, expectCode } from "../support/tools-suite.js";

const TOOLS = ["docker-registry", "skopeo", "umoci", "busybox", "htpasswd", "openssl", "zstd"];
const ACCOUNT = { username: "ann", password: "pass: word" };

describeUnless([lacksTools(...TOOLS), lacksBuild()], "a finished build", () => {
  let dir: TempDir;
  let registry: RegistryService;
  let tsbuild: Builder;

  beforeAll(async () => {
    dir = await tempDir();
    registry = await startRegistry();
    const layout = await busyboxBase();
    await pushBase(layout, registry, "library/busybox:latest");
    await pushBase(layout, registry, "library/busybox:v2s2", "v2s2");
    tsbuild = builder({ store: join(dir.path, "store"), registry });
  });
  afterAll(async () => {
    await untilNothingIsLeft(dir.path);
    await registry[Symbol.asyncDispose]();
    await dir[Symbol.asyncDispose]();
  });

  const contextOf = async (name: string, dockerfile: string): Promise<string> => {
    const context = join(dir.path, name);
    await mkdir(context);
    await writeFile(join(context, "Dockerfile"), dockerfile);
    return context;
  };

  const built = async (args: readonly string[], environment: NodeJS.ProcessEnv = {}) => {
    const outcome = await tsbuild.run(args, { env: plainEnvironment(environment) });
    expectCode(outcome, 0);
    return outcome;
  };

  describeUnless([lacksRoot(), lacksTools("runc", "getfattr")], "of the demo", () => {
    test("is a layout that umoci unpacks and a runtime runs", async () => {
      const context = join(CHECKOUT, "fixtures/demo");
      const image = join(dir.path, "demo");
      await built(["--context", context, "--no-push", "--oci-layout-path", image]);
      const { config } = (await readLayout(image)).config;
      expect(config).toMatchObject({
        User: "web",
        Cmd: ["httpd", "-f", "-p", "8080", "-h", "/srv"],
        ExposedPorts: { "8080/tcp": {} },
        Labels: { "org.opencontainers.image.title": "tsbuild demo" },
      });
      const bundle = await unpackBundle(image, join(dir.path, "demo-unpacked"));
      const facts = await factsBelow(join(bundle, "rootfs"));
      expect(facts.get("srv/index.html")).toMatchObject({ owner: "1000:1000", mode: "644" });
      expect(facts.has("src")).toBe(false);
      const outcome = await runBundle(bundle, ["grep", "-c", "<li>", "/srv/index.html"]);
      expect(outcome).toMatchObject({ code: 0, stdout: "3\n" });
    });
  });

  test("says one digest everywhere: file, layout, registry, message", async () => {
    const context = await contextOf("digests", "FROM busybox\nRUN echo x > /x\n");
    const image = join(dir.path, "digests-image");
    const digestFile = join(dir.path, "digest");
    const reference = `${registry.host}/team/digests:1`;
    const outcome = await built([
      "--context",
      context,
      "--destination",
      reference,
      "--oci-layout-path",
      image,
      "--digest-file",
      digestFile,
    ]);
    const digest = await readFile(digestFile, "utf8");
    expect(digest).toMatch(/^sha256:[0-9a-f]{64}$/);
    expect((await readLayout(image)).digest).toBe(digest);
    expect(outcome.stderr).toContain(digest);
    const inspect = ["inspect", "--tls-verify=false", "--format", "{{.Digest}}"];
    expect(await mustRun("skopeo", [...inspect, `docker://${reference}`])).toBe(`${digest}\n`);
  });

  test("writes an archive that holds the same files as the layout", async () => {
    const context = await contextOf("archive", "FROM busybox\nRUN mkdir /d && echo x > /d/x\n");
    const image = join(dir.path, "archive-image");
    const archive = join(dir.path, "archive.tar");
    const name = `${registry.host}/team/archive:2`;
    const outputs = ["--oci-layout-path", image, "--tar-path", archive];
    await built(["--context", context, "--no-push", "--destination", name, ...outputs]);
    const second = join(dir.path, "archive-second");
    await copyToLayout(`docker-archive:${archive}:${name}`, second);
    const [first, other] = [await readLayout(image), await readLayout(second)];
    expect(other.config.rootfs).toEqual(first.config.rootfs);
    expect(byPath(other.layers.flat()).get("d/x")?.data.toString()).toBe("x\n");
  });

  test.each([
    ["a base with OCI types", "busybox:latest", [], "vnd.oci"],
    ["a base with Docker types", "busybox:v2s2", [], "vnd.docker"],
    [
      "a base with Docker types and OCI asked for",
      "busybox:v2s2",
      ["--image-format=oci"],
      "vnd.oci",
    ],
    [
      "a base with OCI types and Docker asked for",
      "busybox",
      ["--image-format=docker"],
      "vnd.docker",
    ],
    ["nothing", "scratch", [], "vnd.oci"],
  ])("never mixes media types: from %s", async (what, base, flags, family) => {
    const name = `types-${what.replaceAll(" ", "-")}`;
    const context = await contextOf(name, `FROM ${base}\nCOPY Dockerfile /\nLABEL a=b\n`);
    const reference = `${registry.host}/types/${name.toLowerCase()}:1`;
    await built(["--context", context, "--destination", reference, ...flags]);
    const raw = await mustRun("skopeo", [
      "inspect",
      "--raw",
      "--tls-verify=false",
      `docker://${reference}`,
    ]);
    const types = [...raw.matchAll(/"mediaType":\s*"([^"]+)"/g)].map(([, type]) => type);
    expect(types.length).toBeGreaterThanOrEqual(3);
    expect(types.filter((type) => type?.includes(family) !== true)).toEqual([]);
  });

  test("compresses with zstd when asked, and other tools read it", async () => {
    const context = await contextOf("zstd", "FROM busybox\nRUN echo zstd > /z\n");
    const image = join(dir.path, "zstd-image");
    const flags = ["--compression=zstd", "--no-push", "--oci-layout-path", image];
    await built(["--context", context, ...flags]);
    const judged = await readLayout(image);
    expect(judged.manifest.layers.at(-1)?.mediaType).toMatch(/tar\+zstd$/);
    expect(
      byPath(judged.layers.at(-1) ?? [])
        .get("z")
        ?.data.toString(),
    ).toBe("zstd\n");
    const plain = join(dir.path, "zstd-copied");
    await mustRun("skopeo", ["copy", "-q", `oci:${image}`, `dir:${plain}`]);
  });

  test("is the same bytes when built twice with --reproducible", async () => {
    const dockerfile =
      "FROM busybox\nRUN mkdir /d && date > /dev/null && touch /d/f\nCOPY Dockerfile /\n";
    const digests = [];
    for (const round of ["first", "second"]) {
      const context = await contextOf(`reproducible-${round}`, dockerfile);
      const image = join(dir.path, `reproducible-${round}-image`);
      const store = join(dir.path, `reproducible-${round}-store`);
      const flags = ["--reproducible", "--no-push", "--oci-layout-path", image];
      const other = builder({ store, registry });
      expectCode(await other.run(["--context", context, ...flags]), 0);
      digests.push((await readLayout(image)).digest);
      await new Promise((resolve) => setTimeout(resolve, 1_100)); // so that the clock shows other seconds
    }
    expect(digests[1]).toBe(digests[0]);
  });

  test("pushes over TLS with a private CA and a login, and with Bearer tokens", async () => {
    await using secured = await startRegistry({ tls: true, htpasswd: ACCOUNT });
    await using tokens = await startRegistry({ token: { accounts: [ACCOUNT] } });
    const context = await contextOf("logins", "FROM busybox\nLABEL a=b\n");
    for (const target of [secured, tokens]) {
      const reference = `${target.host}/deep/er/name:tag`;
      const insecure = target === tokens ? ["--insecure-registry", target.host] : [];
      await built(["--context", context, "--destination", reference, ...insecure], {
        DOCKER_CONFIG: await target.dockerConfig(ACCOUNT),
        ...(target.caFile === undefined ? {} : { SSL_CERT_FILE: target.caFile }),
      });
      const creds = ["--creds", `${ACCOUNT.username}:${ACCOUNT.password}`];
      await mustRun("skopeo", ["inspect", "--tls-verify=false", ...creds, `docker://${reference}`]);
    }
  });

  test("applies build arguments, target and labels", async () => {
    const context = await contextOf(
      "flags",
      "FROM busybox AS one\nARG WHO=nobody\nRUN echo $WHO > /who\nFROM busybox\nRUN false\n",
    );
    const image = join(dir.path, "flags-image");
    const flags = ["--build-arg", "WHO=me", "--target", "ONE", "--label", "k=v=w"];
    await built(["--context", context, ...flags, "--no-push", "--oci-layout-path", image]);
    const judged = await readLayout(image);
    expect(judged.config.config.Labels).toEqual({ k: "v=w" });
    expect(
      byPath(judged.layers.at(-1) ?? [])
        .get("who")
        ?.data.toString(),
    ).toBe("me\n");
  });

  test("tags nothing when a step fails", async () => {
    const context = await contextOf("half", "FROM busybox\nRUN echo x > /x\nRUN false\n");
    const reference = `${registry.host}/team/half:1`;
    const digestFile = join(dir.path, "half-digest");
    const flags = ["--destination", reference, "--digest-file", digestFile];
    const outcome = await tsbuild.run(["--context", context, ...flags]);
    expectCode(outcome, 1);
    await expect(readFile(digestFile)).rejects.toThrow("ENOENT");
    const requests = await registry.requests();
    expect(requests.filter((line) => line.includes("team/half/manifests"))).not.toContainEqual(
      expect.stringMatching(/^PUT/),
    );
  });
});

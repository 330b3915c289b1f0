import { mkdir, readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { afterAll, beforeAll, expect, test } from "vitest";
import { busyboxBase } from "../support/bases.js";
import { prepareRegistry, writeDockerConfig } from "../support/services.js";
import { CHECKOUT, lacksBuild, leftovers, plainEnvironment } from "../support/tools-cli.js";
import { readLayout, runBundle, unpackBundle } from "../support/tools-images.js";
import { lacksRoot, lacksTools, mustRun, run, tempDir, type TempDir } from "../support/tools.js";
import { describeUnless } from "../support/tools-suite.js";

const TOOLS = ["docker-registry", "skopeo", "umoci", "runc", "unshare", "ip", "htpasswd", "curl"];
/** Docker Hub's names: the one that Kaniko uses, and the one that other tools go to. */
const HUB = ["index.docker.io", "registry-1.docker.io", "auth.docker.io", "docker.io"];
const ACCOUNT = { username: "isno", password: "tekton: s3cret" };

describeUnless([lacksRoot(), lacksTools(...TOOLS), lacksBuild()], "the Tekton step", () => {
  let dir: TempDir;
  let out = "";

  beforeAll(async () => {
    dir = await tempDir();
    out = join(dir.path, "out");
    const root = join(dir.path, "root");
    await Promise.all([mkdir(out), mkdir(root)]);
    await using registry = await prepareRegistry({
      tls: true,
      htpasswd: ACCOUNT,
      names: HUB,
      port: 443,
    });
    const hosts = join(dir.path, "hosts");
    await writeFile(hosts, `127.0.0.1 localhost ${HUB.join(" ")}\n`);
    const login = join(dir.path, "login");
    await writeDockerConfig(login, "https://index.docker.io/v1/", ACCOUNT);
    const inside = join(CHECKOUT, "test/e2e/tekton-inside.sh");
    const namespaces = ["--mount", "--net", "--propagation", "private"];
    await mustRun("unshare", [...namespaces, "sh", inside], {
      env: plainEnvironment({
        ROOT: root,
        HOSTS: hosts,
        REGISTRY_CONFIG: registry.config,
        CA: String(registry.caFile),
        FIXTURE: join(CHECKOUT, "fixtures/tekton-example"),
        LOGIN: login,
        BASE: await busyboxBase(),
        OUT: out,
        STORE: join(dir.path, "store"),
        NODE: process.execPath,
        CHECKOUT,
      }),
    });
  });
  afterAll(() => dir[Symbol.asyncDispose]());

  const text = (name: string): Promise<string> => readFile(join(out, name), "utf8");

  test("builds and pushes with the flags and the login that Tekton gives", async () => {
    expect(`${await text("status")}${await text("stderr")}`).toMatch(/^0\n/);
    expect(await text("stderr")).toContain("wordfreq: 3 checks passed");
  });

  test("pushes an image that skopeo pulls back and a runtime runs", async () => {
    const image = await readLayout(join(out, "pulled"));
    expect(image.config.config).toMatchObject({
      Entrypoint: ["/usr/local/bin/wordfreq"],
      User: "reader",
    });
    const bundle = await unpackBundle(join(out, "pulled"), join(dir.path, "unpacked"));
    const program = join(bundle, "rootfs/usr/local/bin/wordfreq");
    const source = join(CHECKOUT, "fixtures/tekton-example/src/wordfreq");
    expect(await readFile(program, "utf8")).toBe(await readFile(source, "utf8"));
    const words = ["sh", "-c", "id -u; echo to be or not to be | wordfreq"];
    const outcome = await runBundle(bundle, words);
    expect(outcome).toMatchObject({ code: 0, stdout: "1000\n2 be\n2 to\n1 not\n1 or\n" });
  });

  test("never shows the password", async () => {
    const shown = `${await text("stdout")}${await text("stderr")}${await text("wrong-stderr")}`;
    const encoded = Buffer.from(`${ACCOUNT.username}:${ACCOUNT.password}`).toString("base64");
    expect(shown).not.toContain(ACCOUNT.password);
    expect(shown).not.toContain(encoded);
  });

  test("refuses with exit code 77 when the password is wrong", async () => {
    expect(`${await text("wrong-status")}${await text("wrong-stderr")}`).toMatch(/^77\n/);
    expect(await text("wrong-stderr")).toMatch(/^error: .*index\.docker\.io/m);
  });

  test("leaves no process and no mount behind", async () => {
    expect(await leftovers(dir.path)).toEqual([]);
    expect((await run("ls", ["-d", "/workspace/repo"])).code).not.toBe(0);
  });
});

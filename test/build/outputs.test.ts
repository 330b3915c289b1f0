import { execFileSync } from "node:child_process";
import {
  existsSync,
  linkSync,
  lstatSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  readdirSync,
  readlinkSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join, relative } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { build, check, start, type BuildOptions, type BuildResult } from "../../src/index.js";
import { lacksTools } from "../support/tools.js";

const DOCKERFILE = `FROM scratch AS base
COPY one /gone
COPY dir /data/
FROM base
COPY --chmod=4751 --chown=12:34 one /data/tool
COPY over /
LABEL a=b
`;
let root: string;
let context: string;
beforeAll(() => {
  root = mkdtempSync(join(tmpdir(), "tsbuild-outputs-"));
  context = join(root, "context");
  mkdirSync(join(context, "dir/empty"), { recursive: true });
  writeFileSync(join(context, "Dockerfile"), DOCKERFILE);
  // Should anything of it ever go where it must not.
  writeFileSync(at("Empty"), "FROM scratch\n");
  writeFileSync(join(context, "one"), "one\n");
  writeFileSync(join(context, "dir/same"), "s".repeat(3_000_001));
  linkSync(join(context, "dir/same"), join(context, "dir/same too"));
  writeFileSync(join(context, `dir/${"long".repeat(40)}`), "");
  symlinkSync("/etc/passwd", join(context, "dir/link"));
  mkdirSync(join(context, "over"));
  symlinkSync("/etc/passwd", join(context, "over/gone"));
});
afterAll(() => {
  rmSync(root, { recursive: true, force: true });
});

const at = (...names: readonly string[]): string => join(root, ...names);

function make(options: Partial<BuildOptions>): Promise<BuildResult> {
  return build({ context, store: at("store"), push: false, ...options });
}

describe("the files of the last stage", () => {
  test("a tar holds them with owners, modes and links, as GNU tar reads them", async () => {
    const { written } = await make({ outputs: [{ type: "tar", dest: at("new/files.tar") }] });
    expect(written).toEqual([at("new/files.tar")]);
    const listed = execFileSync("tar", ["--numeric-owner", "-tvf", at("new/files.tar")], {
      encoding: "utf8",
    });
    const lines = listed
      .trimEnd()
      .split("\n")
      .map((line) => line.replace(/ \d{4}-\d\d-\d\d \d\d:\d\d /, " ").replaceAll(/ +/g, " "));
    expect(lines).toEqual([
      "drwxr-xr-x 0/0 0 data/",
      "drwxr-xr-x 0/0 0 data/empty/",
      "lrwxrwxrwx 0/0 0 data/link -> /etc/passwd",
      `-rw-r--r-- 0/0 0 data/${"long".repeat(40)}`,
      "-rw-r--r-- 0/0 3000001 data/same",
      "hrw-r--r-- 0/0 0 data/same too link to data/same",
      "-rwsr-x--x 12/34 4 data/tool",
      "lrwxrwxrwx 0/0 0 gone -> /etc/passwd",
    ]);
    const same = execFileSync("tar", ["-xOf", at("new/files.tar"), "data/same"], {
      maxBuffer: 1 << 24,
    });
    expect(same.equals(readFileSync(join(context, "dir/same")))).toBe(true);
  });

  test("a directory holds them, and the build says what was not kept", async () => {
    const options = { outputs: [{ type: "local", dest: at("local") }] } as const;
    await using running = start({ context, store: at("store"), ...options });
    const notices: string[] = [];
    for await (const event of running.events) {
      if (event.type === "notice") notices.push(event.message);
    }
    expect((await running.result).pushed).toEqual([]);
    expect(readFileSync(at("local/data/tool"), "utf8")).toBe("one\n");
    expect(readlinkSync(at("local/gone"))).toBe("/etc/passwd");
    expect(lstatSync(at("local/data/same")).ino).toBe(lstatSync(at("local/data/same too")).ino);
    const { uid, mode } = lstatSync(at("local/data/tool"));
    expect(uid).toBe(process.geteuid?.());
    expect(mode & 0o7777).toBe(0o751);
    expect(notices.join("\n")).toContain("set-user-id and set-group-id bits were left out");
  });

  test("platform-split=false puts them together, unless two platforms have the same file", async () => {
    writeFileSync(at("Split"), "FROM scratch\nARG TARGETARCH\nCOPY one /bin/$TARGETARCH\n");
    const options = { platform: "linux/amd64,linux/arm64", dockerfile: at("Split") };
    const outputs = [
      { type: "local", dest: at("joined"), platformSplit: false },
      { type: "tar", dest: at("joined.tar"), platformSplit: false },
      { type: "local", dest: at("apart"), platformSplit: true },
    ] as const;
    await make({ ...options, outputs });
    expect(readdirSync(at("joined/bin")).sort()).toEqual(["amd64", "arm64"]);
    const listed = execFileSync("tar", ["-tf", at("joined.tar")], { encoding: "utf8" });
    expect(listed).toBe("bin/\nbin/amd64\nbin/arm64\n");
    await make({ ...options, platform: "linux/arm64", outputs: outputs.slice(2) });
    expect(readdirSync(at("apart"))).toEqual(["linux_amd64", "linux_arm64"]);
    const same = make({ outputs: outputs.slice(0, 1), platform: options.platform });
    await expect(same).rejects.toMatchObject({
      code: "USAGE",
      message: expect.stringContaining("two platforms have it") as unknown,
    });
  });

  test("several platforms have a directory each", async () => {
    const platform = "linux/amd64,linux/arm/v7";
    const outputs = [
      { type: "local", dest: at("both") },
      { type: "tar", dest: at("both.tar") },
    ] as const;
    await make({ outputs, platform });
    expect(readdirSync(at("both"))).toEqual(["linux_amd64", "linux_arm_v7"]);
    expect(readFileSync(at("both/linux_arm_v7/data/tool"), "utf8")).toBe("one\n");
    const listed = execFileSync("tar", ["-tf", at("both.tar")], { encoding: "utf8" }).split("\n");
    expect(listed.filter((name) => /^[^/]*\/(data\/)?$/.test(name))).toEqual([
      "linux_amd64/",
      "linux_amd64/data/",
      "linux_arm_v7/",
      "linux_arm_v7/data/",
    ]);
    // Each has its own link: it must not lead into the other one.
    const links = execFileSync("tar", ["-tvf", at("both.tar")], { encoding: "utf8" });
    expect(links).toContain("linux_arm_v7/data/same too link to linux_arm_v7/data/same");
  });

  test("they never go over the files of this machine", async () => {
    symlinkSync("/", at("top"));
    for (const dest of ["/tmp/..", at("top")]) {
      const failing = make({ outputs: [{ type: "local", dest }], dockerfile: at("Empty") });
      await expect(failing).rejects.toMatchObject({ code: "USAGE" });
    }
  });

  test("paths are relative to the working directory, the store's too", async () => {
    const options = { store: relative(".", at("store")), context: relative(".", context) };
    await make({ ...options, outputs: [{ type: "local", dest: relative(".", at("relative")) }] });
    expect(readFileSync(at("relative/data/tool"), "utf8")).toBe("one\n");
  });

  test("a tar that cannot be written leaves nothing behind", async () => {
    mkdirSync(at("taken"));
    const failing = make({ outputs: [{ type: "tar", dest: at("taken") }] });
    await expect(failing).rejects.toMatchObject({ code: "STORE_FAILED" });
    expect(readdirSync(at("taken"))).toEqual([]);
  });
});

const noSkopeo = lacksTools("skopeo");

describe("the image", () => {
  test.skipIf(noSkopeo !== undefined)(
    "type=oci is a tar that skopeo reads and copies (skipped where it is not installed)",
    async () => {
      const { image } = await make({
        outputs: [{ type: "oci", dest: at("oci.tar") }],
        annotations: { "org.example/a": "b", "manifest-descriptor:c": "d" },
        destinations: ["example.com/app:v1"],
      });
      const source = `oci-archive:${at("oci.tar")}:v1`;
      const raw = execFileSync("skopeo", ["inspect", "--raw", source], { encoding: "utf8" });
      expect(JSON.parse(raw)).toMatchObject({ annotations: { "org.example/a": "b" } });
      execFileSync("skopeo", ["copy", "-q", source, `dir:${at("copied")}`]);
      const index = execFileSync("tar", ["-xOf", at("oci.tar"), "index.json"], {
        encoding: "utf8",
      });
      const annotations = { c: "d", "org.opencontainers.image.ref.name": "v1" };
      expect(JSON.parse(index)).toMatchObject({
        manifests: [{ digest: image.digest, annotations }],
      });
    },
  );

  test("every output has the same image, and the same build gives the same archive", async () => {
    const outputs = [
      { type: "oci", dest: at("a.tar") },
      { type: "oci", dest: at("b.tar") },
      { type: "oci", dest: at("layout"), tar: false },
      { type: "docker", dest: at("docker.tar") },
    ] as const;
    const { image, configDigest, written } = await make({ outputs });
    expect(written).toEqual(outputs.map(({ dest }) => dest));
    expect(readFileSync(at("a.tar")).equals(readFileSync(at("b.tar")))).toBe(true);
    expect(readFileSync(at("layout/index.json"), "utf8")).toContain(image.digest);
    const names = execFileSync("tar", ["-tf", at("docker.tar")], { encoding: "utf8" });
    expect(names).toContain(`${configDigest.slice("sha256:".length)}.json`);
  });

  test("a layout's entry says when the image was made, where that is no time of day", async () => {
    const created = "org.opencontainers.image.created";
    const entries = async (name: string, options: Partial<BuildOptions>): Promise<unknown[]> => {
      await make({ outputs: [{ type: "oci", dest: at(name), tar: false }], ...options });
      const { manifests } = JSON.parse(readFileSync(at(`${name}/index.json`), "utf8")) as {
        manifests: { annotations?: Record<string, string> }[];
      };
      return manifests.map(({ annotations }) => annotations?.[created]);
    };
    const buildArgs = { SOURCE_DATE_EPOCH: "1700000000" };
    const time = "2023-11-14T22:13:20Z";
    expect(await entries("undated", {})).toEqual([undefined]);
    expect(await entries("dated", { buildArgs })).toEqual([time]);
    const destinations = ["example.com/a:1", "example.com/a:2"];
    expect(await entries("names", { buildArgs, destinations })).toEqual([time, time]);
    const platform = "linux/amd64,linux/arm64";
    expect(await entries("index", { buildArgs, platform })).toEqual([time]);
    const annotations = { [`manifest-descriptor:${created}`]: "mine" };
    expect(await entries("own", { buildArgs, annotations })).toEqual(["mine"]);
  });

  test("what Docker's format cannot say is refused before the build", async () => {
    const platform = "linux/amd64,linux/arm64";
    const archive = make({ outputs: [{ type: "docker", dest: at("two.tar") }], platform });
    await expect(archive).rejects.toMatchObject({ code: "USAGE" });
    const annotated = make({ annotations: { a: "b" }, imageFormat: "docker" });
    await expect(annotated).rejects.toThrow("Docker's image format has no annotations");
  });

  test("the id, the digest and the metadata name it", async () => {
    const files = { iidFile: at("iid"), digestFile: at("digest"), metadataFile: at("metadata") };
    const { image, configDigest } = await make({
      ...files,
      destinations: ["app", "example.com/app:v1"],
      platform: "linux/arm64",
    });
    expect(readFileSync(files.iidFile, "utf8")).toBe(configDigest);
    expect(readFileSync(files.digestFile, "utf8")).toBe(image.digest);
    expect(JSON.parse(readFileSync(files.metadataFile, "utf8"))).toEqual({
      "containerimage.config.digest": configDigest,
      "containerimage.digest": image.digest,
      "containerimage.descriptor": {
        mediaType: "application/vnd.oci.image.manifest.v1+json",
        digest: image.digest,
        size: image.size,
        platform: { os: "linux", architecture: "arm64" },
      },
      "image.name": "docker.io/library/app:latest,example.com/app:v1",
    });
  });

  test("of several platforms the id is the index's", async () => {
    const files = { iidFile: at("iid2"), metadataFile: at("metadata2") };
    const { image } = await make({
      ...files,
      platform: "linux/amd64,linux/arm64",
      annotations: { "index:a": "b" },
      outputs: [{ type: "oci", dest: at("index.tar") }],
    });
    expect(readFileSync(files.iidFile, "utf8")).toBe(image.digest);
    const metadata: unknown = JSON.parse(readFileSync(files.metadataFile, "utf8"));
    expect(metadata).toEqual({
      "containerimage.digest": image.digest,
      "containerimage.descriptor": { ...image },
    });
    const blob = `blobs/sha256/${image.digest.slice("sha256:".length)}`;
    const index = execFileSync("tar", ["-xOf", at("index.tar"), blob], { encoding: "utf8" });
    expect(JSON.parse(index)).toMatchObject({ annotations: { a: "b" } });
  });
});

describe("check", () => {
  const warningsOf = async (text: string): Promise<readonly string[]> => {
    writeFileSync(at("Checked"), text);
    const store = at("check-store");
    return (await check({ context, dockerfile: at("Checked"), store })).map(({ code }) => code);
  };

  test("gives what the rules say, of expanded words too, in the order of the file", async () => {
    const text = "FROM scratch\nENV a b\nCOPY one $nothing/\nCMD ls\n";
    expect(await warningsOf(text)).toEqual([
      "LegacyKeyValueFormat",
      "UndefinedVar",
      "JSONArgsRecommended",
    ]);
    expect(await warningsOf("FROM scratch\nCOPY one /\n")).toEqual([]);
  });

  test("warns where the Dockerfile itself makes warnings errors", async () => {
    expect(await warningsOf("# check=error=true\nFROM scratch\nENV a b\n")).toEqual([
      "LegacyKeyValueFormat",
    ]);
  });

  test("throws where nothing can be built, and writes nothing", async () => {
    await expect(warningsOf("FROM scratch\nCOPPY one /\n")).rejects.toMatchObject({
      code: "DOCKERFILE_INVALID",
      exitCode: 65,
    });
    const dest = at("unwritten");
    writeFileSync(at("Checked"), "FROM scratch\n");
    await check({
      context,
      dockerfile: at("Checked"),
      store: at("check-store"),
      outputs: [{ type: "tar", dest }],
      digestFile: dest,
    });
    expect(existsSync(dest)).toBe(false);
  });
});

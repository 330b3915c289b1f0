import { mkdir, readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { afterAll, beforeAll, expect, test } from "vitest";
import { buildOptions } from "../../src/cli/build-options.js";
import { parseFlags } from "../../src/cli/parse-flags.js";
import { build, type BuildResult } from "../../src/index.js";
import { startRegistry, type RegistryService } from "../support/services.js";
import { lacksTools, mustRun, tempDir, type TempDir } from "../support/tools.js";
import { describeUnless } from "../support/tools-suite.js";

const ZSTD = "application/vnd.oci.image.layer.v1.tar+zstd";

describeUnless([lacksTools("skopeo", "docker-registry")], "buildx's --output", () => {
  let dir: TempDir;
  let registry: RegistryService;
  beforeAll(async () => {
    dir = await tempDir();
    registry = await startRegistry();
    await mkdir(at("context"));
    await writeFile(at("context/Dockerfile"), "FROM scratch\nCOPY Dockerfile /\n");
    await writeFile(at("context/on-top"), "FROM base\nCOPY on-top /\n");
  });
  afterAll(async () => {
    await registry[Symbol.asyncDispose]();
    await dir[Symbol.asyncDispose]();
  });

  const at = (name: string): string => join(dir.path, name);
  const made = (...flags: readonly string[]): Promise<BuildResult> => {
    const own = [`--context=${at("context")}`, `--store=${at("store")}`];
    const all = [...own, `--insecure-registry=${registry.host}`, ...flags];
    return build(buildOptions(parseFlags(all), { HOME: dir.path }));
  };
  const raw = async (source: string): Promise<unknown> => {
    const flags = source.startsWith("docker:") ? registry.skopeoFlags("inspect") : [];
    const stdout = await mustRun("skopeo", ["inspect", ...flags, "--raw", source]);
    return JSON.parse(stdout);
  };

  test("push-by-digest pushes under no tag, and the metadata says where", async () => {
    const name = `${registry.host}/by-digest`;
    const { image, pushed } = await made(
      `-otype=image,name=${name},push=true,push-by-digest=true`,
      `--metadata-file=${at("metadata")}`,
      `--image-name-tag-with-digest-file=${at("name")}`,
    );
    expect(pushed).toEqual([`${name}@${image.digest}`]);
    expect(await raw(`docker://${name}@${image.digest}`)).toMatchObject({ schemaVersion: 2 });
    const answer = await fetch(`${registry.url}/v2/by-digest/tags/list`);
    expect(((await answer.json()) as { tags?: unknown }).tags ?? []).toEqual([]);
    const metadata: unknown = JSON.parse(await readFile(at("metadata"), "utf8"));
    expect(metadata).toMatchObject({ "image.name": name, "containerimage.digest": image.digest });
    expect(await readFile(at("name"), "utf8")).toBe(`${name}@${image.digest}\n`);
  });

  test("name, annotations, compression and media types are those of the image everywhere", async () => {
    const first = `${registry.host}/app:1`;
    const fields = "compression=zstd,compression-level=5,oci-mediatypes=true";
    await made(
      "--platform=linux/amd64,linux/arm64",
      `-otype=registry,"name=${first},${registry.host}/app:2",${fields}`,
      `-otype=oci,dest=${at("oci.tar")},name=example.com/own:3,annotation-index.Some.Name=i`,
      `-otype=oci,dest=${at("unnamed.tar")},annotation[linux/arm64].arm=yes`,
    );
    const index = { annotations: { "Some.Name": "i" } };
    for (const tag of ["1", "2"]) {
      expect(await raw(`docker://${registry.host}/app:${tag}`)).toMatchObject(index);
    }
    expect(await raw(`oci-archive:${at("oci.tar")}:3`)).toMatchObject(index);
    await expect(raw(`oci-archive:${at("oci.tar")}:1`)).rejects.toThrow();
    expect(await raw(`oci-archive:${at("unnamed.tar")}:1`)).toMatchObject(index);
    const { manifests } = (await raw(`docker://${first}`)) as {
      manifests: { digest: string; platform: { architecture: string } }[];
    };
    for (const { digest, platform } of manifests) {
      const manifest = await raw(`docker://${registry.host}/app@${digest}`);
      const annotations = platform.architecture === "arm64" ? { arm: "yes" } : undefined;
      expect((manifest as { annotations?: unknown }).annotations).toEqual(annotations);
      expect(manifest).toMatchObject({ layers: [{ mediaType: ZSTD }] });
    }
  });

  test("a docker archive has its own names, and Docker's media types where that is asked", async () => {
    const archive = at("docker.tar");
    const { image } = await made(
      `-otype=docker,dest=${archive},"name=example.com/a:1,b",oci-mediatypes=false,compression=uncompressed`,
    );
    expect(image.mediaType).toBe("application/vnd.docker.distribution.manifest.v2+json");
    for (const name of ["example.com/a:1", "docker.io/library/b:latest"]) {
      const stdout = await mustRun("skopeo", ["inspect", `docker-archive:${archive}:${name}`]);
      expect(JSON.parse(stdout)).toMatchObject({ Os: "linux" });
    }
  });

  test("zstd on a base in Docker's format makes an OCI image", async () => {
    const base = `${registry.host}/docker-base:1`;
    await made(`-otype=registry,name=${base},oci-mediatypes=false`);
    await writeFile(at("context/on-docker"), `FROM ${base}\nCOPY on-top /\n`);
    await made(
      "--dockerfile=on-docker",
      `-otype=oci,dest=${at("from-docker.tar")},compression=zstd`,
    );
    expect(await raw(`oci-archive:${at("from-docker.tar")}`)).toMatchObject({
      mediaType: "application/vnd.oci.image.manifest.v1+json",
      layers: [{ mediaType: ZSTD.replace("zstd", "gzip") }, { mediaType: ZSTD }],
    });
  });

  test("force-compression packs the base's layers again, byte for byte the same files", async () => {
    await made(`-otype=oci,tar=false,dest=${at("base")}`);
    const onTop = (...fields: readonly string[]): Promise<BuildResult> =>
      made(
        "--dockerfile=on-top",
        `--build-context=base=oci-layout://${at("base")}`,
        `-otype=oci,${fields.join(",")}`,
      );
    const typesOf = async (name: string): Promise<readonly string[]> => {
      const { layers } = (await raw(`oci-archive:${at(name)}`)) as {
        layers: { mediaType: string }[];
      };
      return layers.map(({ mediaType }) => mediaType.replace(/.*layer\./, ""));
    };
    await onTop(`dest=${at("mixed.tar")}`, "compression=zstd");
    expect(await typesOf("mixed.tar")).toEqual(["v1.tar+gzip", "v1.tar+zstd"]);
    for (const [word, type] of [
      ["zstd", "v1.tar+zstd"],
      ["uncompressed", "v1.tar"],
      ["gzip", "v1.tar+gzip"],
    ] as const) {
      await onTop(`dest=${at(`${word}.tar`)}`, `compression=${word}`, "force-compression=true");
      expect(await typesOf(`${word}.tar`)).toEqual([type, type]);
      // What skopeo inflates has the diff ids that the config says.
      const [from, to] = [`oci-archive:${at(`${word}.tar`)}`, `dir:${at(`${word}-plain`)}`];
      await mustRun("skopeo", ["copy", "-q", "--dest-decompress", from, to]);
      const { layers } = (await raw(to)) as { layers: { digest: string }[] };
      const config = JSON.parse(await mustRun("skopeo", ["inspect", "--config", from])) as {
        rootfs: { diff_ids: string[] };
      };
      expect(layers.map(({ digest }) => digest)).toEqual(config.rootfs.diff_ids);
    }
  });
});

/** An image for two platforms, from a base that has both, as other tools see it. */
import { execFileSync } from "node:child_process";
import { mkdir, readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { afterAll, beforeAll, expect, test } from "vitest";
import { foreignBusyboxBase, hostArchitecture, pushBase } from "../support/bases.js";
import { startRegistry, type RegistryService } from "../support/services.js";
import {
  builder,
  lacksBuild,
  plainEnvironment,
  untilNothingIsLeft,
  type Builder,
} from "../support/tools-cli.js";
import { copyToLayout, factsBelow, readLayout, unpackBundle } from "../support/tools-images.js";
import { describeUnless, expectCode } from "../support/tools-suite.js";
import {
  findTool,
  lacksRoot,
  lacksTools,
  mustRun,
  tempDir,
  type TempDir,
} from "../support/tools.js";

const ARCHITECTURES = ["amd64", "arm64"] as const;
const MACHINES = { amd64: "x86_64", arm64: "aarch64" } as const;
const HOST = hostArchitecture();
const FOREIGN = HOST === "arm64" ? "amd64" : "arm64";
const EMULATOR = `qemu-${MACHINES[FOREIGN]}-static`;
const TOOLS = ["docker-registry", "skopeo", "umoci", "busybox", "mmdebstrap", "getfattr"];
/** Two builds' worth of other tools' work, on a machine that does more than this. */
const TIMEOUT_MS = 240_000;
const INDEX = "application/vnd.oci.image.index.v1+json";
const MANIFEST = "application/vnd.oci.image.manifest.v1+json";

/** Whether a user namespace can have emulators of its own: Linux 6.7. */
function lacksOwnEmulators(): string | undefined {
  try {
    const mount = "mount -t binfmt_misc binfmt_misc /proc/sys/fs/binfmt_misc";
    execFileSync("unshare", ["-Urm", "sh", "-c", mount], { stdio: "ignore" });
    return undefined;
  } catch {
    return "a user namespace cannot mount binfmt_misc here (Linux 6.7)";
  }
}

interface Index {
  readonly mediaType: string;
  readonly annotations?: Readonly<Record<string, string>>;
  readonly manifests: readonly {
    readonly mediaType: string;
    readonly digest: string;
    readonly platform: unknown;
    readonly annotations?: unknown;
  }[];
}

describeUnless(
  [lacksTools(...TOOLS), lacksRoot(), lacksBuild()],
  "an image for two platforms",
  () => {
    let dir: TempDir;
    let registry: RegistryService;
    let tsbuild: Builder;

    beforeAll(async () => {
      dir = await tempDir();
      registry = await startRegistry();
      tsbuild = builder({ store: join(dir.path, "store"), registry });
      for (const each of ARCHITECTURES) {
        await pushBase(await foreignBusyboxBase(each), registry, `library/${each}:latest`);
      }
      await pushIndex("library/busybox:latest");
    });
    afterAll(async () => {
      await untilNothingIsLeft(dir.path);
      await registry[Symbol.asyncDispose]();
      await dir[Symbol.asyncDispose]();
    });

    /** The base's index, made by hand: its manifests have to be in its own repository. */
    const pushIndex = async (name: string): Promise<void> => {
      const [repository = "", tag = ""] = name.split(":");
      const manifests = [];
      for (const architecture of ARCHITECTURES) {
        await pushBase(
          await foreignBusyboxBase(architecture),
          registry,
          `${repository}:${architecture}`,
        );
        const raw = await inspect(`${repository}:${architecture}`);
        const digest = await digestOf(`${repository}:${architecture}`);
        const platform = {
          os: "linux",
          architecture,
          ...(architecture === "arm64" ? { variant: "v8" } : {}),
        };
        manifests.push({ mediaType: MANIFEST, digest, size: Buffer.byteLength(raw), platform });
      }
      const response = await fetch(`http://${registry.host}/v2/${repository}/manifests/${tag}`, {
        method: "PUT",
        headers: { "content-type": INDEX },
        body: JSON.stringify({ schemaVersion: 2, mediaType: INDEX, manifests }),
      });
      expect(response.status).toBe(201);
    };
    const flags = ["--tls-verify=false"];
    const inspect = (name: string) =>
      mustRun("skopeo", ["inspect", "--raw", ...flags, `docker://${registry.host}/${name}`]);
    const digestOf = async (name: string) =>
      (
        await mustRun("skopeo", [
          "inspect",
          "--format",
          "{{.Digest}}",
          ...flags,
          `docker://${registry.host}/${name}`,
        ])
      ).trim();

    let contexts = 0;
    const build = async (lines: readonly string[], args: readonly string[]) => {
      const context = join(dir.path, `context-${contexts++}`);
      await mkdir(context);
      await writeFile(join(context, "Dockerfile"), `${lines.join("\n")}\n`);
      await writeFile(join(context, "file"), "file\n");
      const given = ["--context", context, ...args];
      return tsbuild.run(given, { env: plainEnvironment() });
    };
    const both = ["--platform", "linux/amd64,linux/arm64"];

    test(
      "is an index in a registry, and each platform is pulled from it by other tools",
      { timeout: TIMEOUT_MS },
      async () => {
        const files = Object.fromEntries(
          ["digest", "metadata", "iid"].map((name) => [name, join(dir.path, name)]),
        );
        const outcome = await build(
          [
            "FROM --platform=$BUILDPLATFORM busybox AS build",
            "ARG TARGETARCH",
            "RUN echo built for $TARGETARCH > /out",
            "FROM busybox",
            "ARG TARGETARCH",
            "COPY --from=build /out /out",
            "COPY file /$TARGETARCH",
            "LABEL architecture=$TARGETARCH",
          ],
          [
            ...both,
            ...Object.entries({
              destination: `${registry.host}/app:two`,
              "digest-file": files["digest"],
              "metadata-file": files["metadata"],
              iidfile: files["iid"],
            }).map(([name, value]) => `--${name}=${value}`),
            "--annotation=index:title=both",
            "--annotation=manifest[linux/arm64]:only=arm",
          ],
        );
        expectCode(outcome, 0);
        const raw = await inspect("app:two");
        const index = JSON.parse(raw) as Index;
        expect(index).toMatchObject({ mediaType: INDEX, annotations: { title: "both" } });
        // Nothing but the two: no attestations under "unknown/unknown".
        expect(index.manifests.map(({ mediaType, platform }) => [mediaType, platform])).toEqual(
          ARCHITECTURES.map((architecture) => [MANIFEST, { architecture, os: "linux" }]),
        );
        const digest = await digestOf("app:two");
        const read = (name: string) => readFile(files[name] ?? "", "utf8");
        expect(await read("digest")).toBe(digest);
        expect(await read("iid")).toBe(digest);
        expect(JSON.parse(await read("metadata"))).toMatchObject({
          "containerimage.digest": digest,
          "containerimage.descriptor": { mediaType: INDEX, digest, size: Buffer.byteLength(raw) },
        });
        for (const [at, architecture] of ARCHITECTURES.entries()) {
          const layout = join(dir.path, `pulled-${architecture}`);
          const source = `docker://${registry.host}/app:two`;
          const chosen = ["--override-os", "linux", "--override-arch", architecture];
          await mustRun("skopeo", [
            ...chosen,
            "copy",
            "-q",
            ...registry.skopeoFlags("src"),
            source,
            `oci:${layout}:x`,
          ]);
          const image = await readLayout(layout);
          expect(image.digest).toBe(index.manifests[at]?.digest);
          expect(image.config).toMatchObject({
            architecture,
            config: { Labels: { architecture } },
          });
          expect((image.manifest as { annotations?: unknown }).annotations).toEqual(
            architecture === "arm64" ? { only: "arm" } : undefined,
          );
          const bundle = await unpackBundle(layout, join(dir.path, `unpacked-${architecture}`));
          const facts = await factsBelow(join(bundle, "rootfs"));
          expect(facts.has(architecture)).toBe(true);
          expect(await readFile(join(bundle, "rootfs/out"), "utf8")).toBe(
            `built for ${architecture}\n`,
          );
          const program = await readFile(join(bundle, "rootfs/bin/busybox"));
          expect(program.readUInt16LE(18)).toBe(architecture === "arm64" ? 183 : 62);
        }
      },
    );

    test(
      "is the same index in an archive and in a layout, and cannot be one of docker's",
      { timeout: TIMEOUT_MS },
      async () => {
        const lines = ["FROM busybox", "COPY --chmod=755 file /bin/"];
        const [tar, layout] = [join(dir.path, "two.tar"), join(dir.path, "two")];
        const epoch = [
          "--build-arg",
          "SOURCE_DATE_EPOCH=1700000000",
          "--reproducible",
          "--no-push",
        ];
        const outputs = ["--output", `type=oci,dest=${tar}`, "--oci-layout-path", layout];
        expectCode(await build(lines, [...both, ...epoch, ...outputs]), 0);
        const top = JSON.parse(await readFile(join(layout, "index.json"), "utf8")) as Index;
        const [entry] = top.manifests;
        expect(top.manifests).toHaveLength(1);
        expect(entry?.mediaType).toBe(INDEX);
        const inside = await mustRun("tar", ["-xOf", tar, "index.json"]);
        expect((JSON.parse(inside) as Index).manifests[0]?.digest).toBe(entry?.digest);
        for (const architecture of ARCHITECTURES) {
          const copied = join(dir.path, `copied-${architecture}`);
          const chosen = ["--override-os", "linux", "--override-arch", architecture];
          await mustRun("skopeo", [
            ...chosen,
            "copy",
            "-q",
            `oci-archive:${tar}`,
            `oci:${copied}:x`,
          ]);
          expect((await readLayout(copied)).config.architecture).toBe(architecture);
          const judged = join(dir.path, `judged-${architecture}`);
          await copyToLayout(`oci:${layout}`, judged, ["--override-arch", architecture]);
          expect((await readLayout(judged)).digest).toBe((await readLayout(copied)).digest);
        }
        const docker = ["--output", `type=docker,dest=${tar}`];
        const refused = await build(lines, [...both, "--no-push", ...docker]);
        expect(refused.code).not.toBe(0);
        expect(refused.stderr).toContain("a docker archive holds one image, not an index");
        // One of the two can be.
        const one = [
          "--platform",
          `linux/${FOREIGN}`,
          "--no-push",
          "--output",
          `type=docker,dest=${tar}`,
        ];
        expectCode(await build(lines, one), 0);
        const config = await mustRun("skopeo", ["inspect", "--config", `docker-archive:${tar}`]);
        expect(JSON.parse(config)).toMatchObject({ architecture: FOREIGN });
      },
    );

    test("cannot be made from a base that lacks one, and the error names those that it has", async () => {
      const args = ["--platform", "linux/amd64,linux/s390x", "--no-push"];
      const { code, stderr } = await build(["FROM busybox", "COPY file /"], args);
      expect(code).not.toBe(0);
      expect(stderr).toContain("tried to pull busybox:latest: it has no image for linux/s390x");
      expect(stderr).toContain("it has linux/amd64, linux/arm64/v8");
      expect(stderr).toContain("FROM busybox");
    });

    test("a base of one platform alone is warned of", async () => {
      const args = ["--custom-platform", `linux/${FOREIGN}`, "--no-push"];
      const { code, stderr, stdout } = await build([`FROM ${HOST}`, "COPY file /"], args);
      expect(code).toBe(0);
      expect(`${stdout}${stderr}`).toContain("InvalidBaseImagePlatform");
    });

    describeUnless([lacksTools(EMULATOR), lacksOwnEmulators()], "with an emulator", () => {
      test(
        "runs the steps of both, and the machine is left as it was",
        { timeout: TIMEOUT_MS },
        async () => {
          const before = execFileSync("ls", ["/proc/sys/fs/binfmt_misc"], { encoding: "utf8" });
          const layout = join(dir.path, "emulated");
          const outcome = await build(
            [
              "FROM busybox",
              "RUN uname -m > /machine && chown 12:34 /machine",
              // A script, and below another user and a name to be called by.
              "RUN printf '#!/bin/sh\\necho $0 $(id -u)\\n' > /script && chmod 755 /script && /script > /ran",
              "USER 1000",
              "RUN (exec -a echo /bin/busybox called) > /tmp/called && test $(id -u) = 1000",
            ],
            [...both, "--no-push", "--oci-layout-path", layout],
          );
          expectCode(outcome, 0);
          expect(`${outcome.stdout}${outcome.stderr}`).toContain(
            `programs for ${FOREIGN} are emulated by ${findTool(EMULATOR) ?? ""}`,
          );
          for (const architecture of ARCHITECTURES) {
            const judged = join(dir.path, `emulated-${architecture}`);
            await copyToLayout(`oci:${layout}`, judged, ["--override-arch", architecture]);
            const bundle = await unpackBundle(
              judged,
              join(dir.path, `emulated-root-${architecture}`),
            );
            const text = (name: string) => readFile(join(bundle, "rootfs", name), "utf8");
            expect(await text("machine")).toBe(`${MACHINES[architecture]}\n`);
            expect(await text("ran")).toBe("/script 0\n");
            expect(await text("tmp/called")).toBe("called\n");
            const facts = await factsBelow(join(bundle, "rootfs"));
            expect(facts.get("machine")?.owner).toBe("12:34");
          }
          expect(execFileSync("ls", ["/proc/sys/fs/binfmt_misc"], { encoding: "utf8" })).toBe(
            before,
          );
        },
      );

      test("says where a step's programs are for another machine than their image says", async () => {
        const { code, stderr } = await build(
          [
            `FROM --platform=linux/${FOREIGN} busybox AS theirs`,
            "FROM busybox",
            "COPY --from=theirs /bin/busybox /b",
            'RUN ["/b", "true"]',
          ],
          ["--platform", `linux/${HOST}`, "--no-push"],
        );
        expect(code).toBe(126);
        expect(stderr).toContain("Dockerfile:4");
        expect(stderr).toContain(`"/b" is a program for ${FOREIGN}, and this machine is ${HOST}`);
      });
    });
  },
);

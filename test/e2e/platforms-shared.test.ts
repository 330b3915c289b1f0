/** What platforms have in common is done once, and progress names a platform only where it makes a difference. */
import { mkdir, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { afterAll, beforeAll, expect, test } from "vitest";
import { start, type BuildEvent, type BuildOptions } from "../../src/index.js";
import { busyboxBase, hostArchitecture, pushBase } from "../support/bases.js";
import { startRegistry, type RegistryService } from "../support/services.js";
import { lacksBuild } from "../support/tools-cli.js";
import { describeUnless } from "../support/tools-suite.js";
import { lacksTools, tempDir, type TempDir } from "../support/tools.js";

const HOST = hostArchitecture();
const OTHER = HOST === "arm64" ? "amd64" : "arm64";
const BOTH = `linux/${HOST},linux/${OTHER}`;

describeUnless(
  [lacksTools("docker-registry", "skopeo", "busybox"), lacksBuild()],
  "platforms",
  () => {
    let dir: TempDir;
    let registry: RegistryService;
    beforeAll(async () => {
      dir = await tempDir();
      registry = await startRegistry();
      await pushBase(await busyboxBase(), registry, "library/busybox:latest");
    });
    afterAll(async () => {
      await registry[Symbol.asyncDispose]();
      await dir[Symbol.asyncDispose]();
    });

    let builds = 0;
    const build = async (lines: readonly string[], options: Partial<BuildOptions> = {}) => {
      const context = join(dir.path, `context-${builds++}`);
      await mkdir(context);
      await writeFile(join(context, "Dockerfile"), `${lines.join("\n")}\n`);
      await writeFile(join(context, "file"), "file\n");
      const running = start({
        context,
        push: false,
        platform: BOTH,
        store: join(dir.path, "store"),
        registryMap: [`index.docker.io=${registry.host}`],
        insecureRegistries: [registry.host],
        ...options,
      });
      const events: BuildEvent[] = [];
      for await (const event of running.events) events.push(event);
      const error = await running.result.then(
        () => undefined,
        (reason: unknown) => reason,
      );
      return { events, error, ...toldBy(events) };
    };

    /** What ran, as `stage: text`, and what was found done. */
    const toldBy = (events: readonly BuildEvent[]) => {
      const started = new Map<string, string>();
      const ran: string[] = [];
      const cached: string[] = [];
      for (const event of events) {
        if (event.type === "step-start") started.set(event.step, `${event.stage}: ${event.text}`);
        if (event.type === "step-done") ran.push(started.get(event.step) ?? event.step);
        if (event.type === "step-cached") cached.push(started.get(event.step) ?? event.step);
      }
      const runs = (lines: readonly string[]) =>
        lines.filter((line) => line.includes(": RUN")).sort();
      const planned = events.flatMap((event) => (event.type === "plan" ? event.steps : []));
      const output = events.flatMap((e) =>
        e.type === "step-output" ? [Buffer.from(e.chunk)] : [],
      );
      return {
        ran: runs(ran),
        cached: runs(cached),
        planned: planned.map(({ id, stage, text }) => `${id} ${stage}: ${text}`),
        output: Buffer.concat(output).toString(),
      };
    };

    test("share a stage that sees nothing of the one that is built for, and it runs once", async () => {
      const { ran, cached, planned, error } = await build([
        "FROM --platform=$BUILDPLATFORM busybox AS tools",
        "RUN echo tool > /tool",
        "FROM --platform=$BUILDPLATFORM tools AS more",
        "ARG BUILDARCH",
        "RUN echo $BUILDARCH >> /tool",
        "FROM scratch",
        "COPY --from=more /tool /",
      ]);
      expect(error).toBeUndefined();
      expect(ran).toEqual(["more: RUN echo $BUILDARCH >> /tool", "tools: RUN echo tool > /tool"]);
      expect(cached).toEqual([]);
      expect(planned).toEqual([
        "1.1 tools: FROM --platform=$BUILDPLATFORM busybox AS tools",
        "1.2 tools: RUN echo tool > /tool",
        "2.1 more: FROM --platform=$BUILDPLATFORM tools AS more",
        "2.2 more: ARG BUILDARCH",
        "2.3 more: RUN echo $BUILDARCH >> /tool",
        `3.1 linux/${HOST} stage-2: FROM scratch`,
        `3.2 linux/${HOST} stage-2: COPY --from=more /tool /`,
        `6.1 linux/${OTHER} stage-2: FROM scratch`,
        `6.2 linux/${OTHER} stage-2: COPY --from=more /tool /`,
      ]);
    });

    test("go their own ways from the first step that sees the one that is built for", async () => {
      const { ran, cached, output, error } = await build([
        "FROM --platform=$BUILDPLATFORM busybox AS build",
        "RUN echo common; echo 1 > /common",
        "ARG TARGETARCH",
        "RUN echo for $TARGETARCH; test -e /common && echo $TARGETARCH > /own",
        "RUN test -e /common && cat /own",
        "FROM scratch",
        "COPY --from=build /own /",
      ]);
      expect(error).toBeUndefined();
      expect(output.match(/^common$/gm)).toHaveLength(1);
      expect(ran.filter((line) => line.includes("echo common"))).toHaveLength(1);
      expect(cached).toHaveLength(1);
      expect(cached[0]).toContain("build: RUN echo common");
      expect(output).toContain(`for ${HOST}\n`);
      expect(output).toContain(`for ${OTHER}\n`);
      expect(ran.filter((line) => line.includes("cat /own"))).toHaveLength(2);
    });

    test("and stages of one platform do what they have in common once", async () => {
      const { ran, cached, output, error } = await build(
        [
          "FROM busybox AS a",
          "RUN echo once; echo x > /made",
          "RUN echo a > /own",
          "FROM busybox AS b",
          "RUN echo once; echo x > /made",
          "RUN echo b > /own && test -e /made",
          "FROM busybox AS c",
          "ENV other=1",
          "RUN echo once; echo x > /made",
          "FROM scratch",
          "COPY --from=a /own /a",
          "COPY --from=b /own /b",
          "COPY --from=c /made /c",
        ],
        { platform: `linux/${HOST}` },
      );
      expect(error).toBeUndefined();
      expect(output.match(/^once$/gm)).toHaveLength(2);
      expect(cached).toHaveLength(1);
      expect(ran).toHaveLength(4);
    });

    test("fail once when what they share fails, and the command's own code is kept", async () => {
      const { events, error } = await build([
        "FROM --platform=$BUILDPLATFORM busybox AS build",
        "RUN echo no; exit 7",
        "FROM scratch",
        "ARG TARGETARCH",
        "COPY --from=build /x /",
      ]);
      expect(error).toMatchObject({ exitCode: 7 });
      const failed = events.flatMap((event) =>
        event.type === "step-failed" ? [event.message] : [],
      );
      expect(failed.filter((message) => message !== "stopped")).toHaveLength(1);
    });

    test("have each warning once", async () => {
      const { events, error } = await build([
        "FROM scratch AS Base",
        "COPY file /$nothing",
        "FROM base",
        "COPY file /two",
      ]);
      expect(error).toBeUndefined();
      const warned = events.flatMap((e) => (e.type === "warning" ? [e.diagnostic.code] : []));
      expect(warned.sort()).toEqual(["StageNameCasing", "UndefinedVar"]);
    });

    test("may need different stages", async () => {
      const { ran, error } = await build([
        "ARG TARGETARCH",
        `FROM busybox AS for-${HOST}`,
        `RUN echo ${HOST} > /which`,
        `FROM --platform=$BUILDPLATFORM busybox AS for-${OTHER}`,
        `RUN echo ${OTHER} > /which`,
        "FROM for-$TARGETARCH",
      ]);
      expect(error).toBeUndefined();
      expect(ran).toEqual(
        [
          `linux/${HOST} for-${HOST}: RUN echo ${HOST} > /which`,
          `linux/${OTHER} for-${OTHER}: RUN echo ${OTHER} > /which`,
        ].sort(),
      );
    });

    test("steps are not the same whose scripts, sources or shells differ", async () => {
      const { cached, output, error } = await build(
        [
          "FROM busybox AS a",
          "RUN <<EOF",
          "echo one | tee /x",
          "EOF",
          "FROM busybox AS b",
          "RUN <<EOF",
          "echo two | tee /x",
          "EOF",
          "FROM busybox AS c",
          "COPY --from=a /x /x",
          "RUN cat /x",
          "FROM busybox AS d",
          "COPY --from=b /x /x",
          "RUN cat /x",
          "FROM busybox AS e",
          'SHELL ["/bin/sh", "-xc"]',
          "RUN echo shell",
          "FROM busybox AS f",
          "RUN echo shell",
          "FROM scratch",
          ...["c", "d", "e", "f"].map((name) => `COPY --from=${name} /etc/passwd /${name}`),
        ],
        { platform: `linux/${HOST}` },
      );
      expect(error).toBeUndefined();
      expect(cached).toEqual([]);
      expect(output.match(/^one$/gm)).toHaveLength(2);
      expect(output.match(/^two$/gm)).toHaveLength(2);
      expect(output.match(/^shell$/gm)).toHaveLength(2);
    });
  },
);

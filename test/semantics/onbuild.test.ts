import { mustRun } from "../support/tools.js";
import { beforeAll, expect, test } from "vitest";
import { describeUnless } from "../support/tools-suite.js";
import { LACKS, useBench } from "./support.js";

describeUnless(LACKS, "ONBUILD", () => {
  const bench = useBench();

  test("triggers of a stage run before the next stage's own lines, once", async () => {
    const built = await bench.build([
      "FROM busybox AS base",
      "ENV order=base",
      "ONBUILD RUN echo trigger1 $order >> /order",
      "ONBUILD ENV order=trigger",
      "ONBUILD RUN echo trigger2 $order >> /order",
      "RUN [ ! -e /order ]",
      "FROM base AS child",
      "RUN echo own $order >> /order",
      "FROM child",
      "RUN echo last >> /order",
    ]);
    expect(built.text("order")).toBe("trigger1 base\ntrigger2 trigger\nown trigger\nlast\n");
    expect(built.config.config.OnBuild ?? []).toEqual([]);
    expect(built.history[1]).toBe("RUN /bin/sh -c [ ! -e /order ] # buildkit");
    expect(built.history[2]).toContain("trigger1");
  });

  test("a trigger may name stages of the file that it runs in, and hold heredocs and mounts", async () => {
    const built = await bench.build([
      "FROM busybox AS maker",
      "RUN echo made > /made",
      "FROM busybox AS base",
      "ONBUILD COPY --from=maker /made /copied",
      "ONBUILD RUN --mount=from=maker,target=/m cp /m/made /mounted",
      "ONBUILD RUN <<EOF",
      "echo script > /script",
      "EOF",
      "ONBUILD COPY <<EOF /heredoc",
      "text",
      "EOF",
      "FROM base",
      "RUN [ -e /copied ] && [ -e /script ]",
    ]);
    for (const [path, text] of [
      ["copied", "made\n"],
      ["mounted", "made\n"],
      ["script", "script\n"],
      ["heredoc", "text\n"],
    ] as const) {
      expect(built.text(path), path).toBe(text);
    }
  });

  test("the result keeps its own triggers as they were written", async () => {
    const built = await bench.build([
      "FROM busybox",
      "ARG v=1",
      "ONBUILD RUN echo $v \\",
      "  && true",
      "ONBUILD ADD . /app",
      "onbuild run  two   spaces",
    ]);
    expect(built.config.config.OnBuild).toEqual([
      "RUN echo $v   && true",
      "ADD . /app",
      "run  two   spaces",
    ]);
    expect(built.history).toEqual(["ARG v=1"]);
  });

  test("a trigger that fails says where it came from", async () => {
    const failed = await bench.fails(["FROM busybox AS base", "ONBUILD RUN exit 5", "FROM base"]);
    expect(failed.exitCode).toBe(5);
    expect(failed.message).toContain("exit code: 5");
    expect(failed.message).toMatch(/Dockerfile:2|ONBUILD/);
  });

  test.each(["ONBUILD ONBUILD RUN true", "ONBUILD FROM x", "ONBUILD MAINTAINER me", "ONBUILD"])(
    "%s is refused",
    async (line) => {
      const failed = await bench.fails(["FROM busybox", line]);
      expect(failed.message).toContain("Dockerfile:2");
      expect(failed.exitCode).toBe(65);
    },
  );

  describeUnless([], "of an image", () => {
    beforeAll(async () => {
      const first = await bench.build([
        "FROM busybox",
        "ONBUILD ARG given=default",
        "ONBUILD RUN echo $given > /given",
        "ONBUILD COPY . /app/",
        "ONBUILD COPY --from=stage /s /s",
      ]);
      await mustRun("skopeo", [
        "copy",
        "--quiet",
        "--dest-tls-verify=false",
        `oci:${first.layout}`,
        `docker://${bench.registry.host}/library/triggers:1`,
      ]);
    });

    test("they run with the child's context, arguments and stages", async () => {
      const built = await bench.build(
        [
          "FROM busybox AS stage",
          "RUN echo s > /s",
          "FROM triggers:1",
          "RUN cat /s /app/f > /both",
        ],
        { files: { f: "f\n" }, buildArgs: { given: "mine" } },
      );
      expect(built.text("given")).toBe("mine\n");
      expect(built.text("both")).toBe("s\nf\n");
      expect(built.config.config.OnBuild ?? []).toEqual([]);
    });

    test("what is wrong with them names the image", async () => {
      const failed = await bench.fails(["FROM triggers:1"], { files: { f: "" } });
      expect(failed.message).toMatch(/triggers:1|stage/);
    });
  });
});

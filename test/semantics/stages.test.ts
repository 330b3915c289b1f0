import { expect, test } from "vitest";
import { describeUnless } from "../support/tools-suite.js";
import { LACKS, useBench } from "./support.js";

describeUnless(LACKS, "stages", () => {
  const bench = useBench();

  test("--from takes names in any case, numbers and images, and paths from the root", async () => {
    const built = await bench.build([
      "FROM busybox AS First",
      "WORKDIR /deep",
      "RUN echo first > file && echo root > /file && chown 5:6 /deep/file",
      "FROM scratch",
      "COPY --from=FIRST file /by-name",
      "COPY --from=0 /deep/file /by-number",
      "COPY --from=busybox /etc/passwd /from/image/",
      "COPY --from=first /deep /d",
    ]);
    expect(built.text("by-name")).toBe("root\n");
    expect(built.text("by-number")).toBe("first\n");
    expect(built.facts("by-number")).toBe("file 644 5:6");
    expect(built.text("from/image/passwd")).toContain("root:x:0:0");
    expect(built.facts("d/file")).toBe("file 644 5:6");
    expect(built.layers).toHaveLength(4);
  });

  test("a stage starts from another with everything that it has, and the other can still be copied from", async () => {
    const built = await bench.build([
      "FROM busybox AS base",
      "ENV a=1",
      "WORKDIR /w",
      "USER daemon",
      'SHELL ["/bin/sh", "-ec"]',
      "RUN cp /etc/group /tmp/from-base",
      "FROM base AS middle",
      'RUN [ "$a" = 1 ] && [ "$PWD" = /w ] && [ "$(id -u)" = 1 ] && touch /tmp/from-middle',
      "FROM middle",
      "COPY --from=base /tmp/from-base /copied",
      "COPY --from=middle /tmp/from-middle /copied-too",
      "RUN [ -e /tmp/from-base ] && [ -e /tmp/from-middle ]",
    ]);
    expect(built.config.config).toMatchObject({ User: "daemon", WorkingDir: "/w" });
    expect(built.files.has("copied")).toBe(true);
    expect(built.layers).toHaveLength(1 + 3 + 1 + 2);
    // The middle's layers are the result's: no layer is made twice.
    expect(built.history.filter((text) => text.startsWith("RUN"))).toHaveLength(3);
  });

  test("what the target does not need is neither pulled nor run, nor is it looked at what it copies", async () => {
    const built = await bench.build(
      [
        "FROM nowhere.invalid/none AS unused",
        "RUN false",
        "FROM busybox AS failing",
        "COPY none /",
        "RUN exit 3",
        "FROM busybox AS wanted",
        "RUN echo wanted > /w",
        "FROM failing",
        "RUN true",
      ],
      { target: "WANTED" },
    );
    expect(built.text("w")).toBe("wanted\n");
    const stages = built.events.flatMap((event) =>
      event.type === "step-start" ? [event.stage] : [],
    );
    expect(new Set(stages)).toEqual(new Set(["wanted"]));
  });

  test("a syntax error counts wherever it is", async () => {
    const failed = await bench.fails([
      "FROM busybox AS unused",
      "RUNN true",
      "FROM scratch",
      "LABEL a=b",
    ]);
    expect(failed.message).toMatch(/Dockerfile:2.*unknown instruction: RUNN/s);
    expect(failed.error.hint ?? failed.message).toMatch(/RUN/);
    expect(failed.exitCode).toBe(65);
  });

  test("a name is the stage's before it is an image's, and of two stages the later one's", async () => {
    const built = await bench.build([
      "FROM busybox AS one",
      "RUN echo 1 > /which",
      "FROM busybox AS busybox",
      "RUN echo mine > /which",
      "FROM busybox AS one",
      'RUN echo "2 $(cat /which)" > /second',
      "FROM scratch",
      "COPY --from=one /second /",
    ]);
    expect(built.text("second")).toBe("2 mine\n");
    expect(built.warnings.join("\n")).toContain("DuplicateStageName");
  });

  test("FROM knows stages by their name in lower case only", async () => {
    const failed = await bench.fails(["FROM busybox AS Base", "FROM Base", "LABEL a=b"]);
    expect(failed.message).toMatch(/lower ?case/i);
    expect(failed.message).toContain("Dockerfile:2");
  });

  test("a named context takes the place of a stage, an image, or is a source of its own", async () => {
    const built = await bench.build(
      [
        "FROM busybox AS replaced",
        "RUN false",
        "FROM other:1 AS image",
        "RUN [ -x /bin/busybox ]",
        "FROM busybox",
        "COPY --from=replaced f /stage",
        "COPY --from=more sub /more",
        "RUN --mount=from=more,target=/m [ -e /m/sub/f ] && [ ! -e /m/ignored ]",
        "COPY --from=image /etc/group /group",
      ],
      {
        named: {
          replaced: { f: "context\n" },
          MORE: { "sub/f": "more\n", ignored: "", ".dockerignore": "ignored\n" },
        },
        buildContexts: { "other:1": "docker-image://busybox" },
      },
    );
    expect(built.text("stage")).toBe("context\n");
    expect(built.text("more/f")).toBe("more\n");
    expect(built.files.has("group")).toBe(true);
  });

  test("stages run beside each other; what waits for another one gets what it made", async () => {
    const lines = ["FROM busybox AS base", "RUN touch /base"];
    for (const name of ["a", "b", "c"]) {
      lines.push(`FROM base AS ${name}`, `RUN [ -e /base ] && echo ${name} > /${name}`);
    }
    lines.push("FROM a", "COPY --from=b /b /", "COPY --from=c /c /", "RUN cat /a /b /c > /all");
    expect((await bench.build(lines)).text("all")).toBe("a\nb\nc\n");
  });

  test("a stage that fails stops the others, and is the only one that says why", async () => {
    const failed = await bench.fails([
      "FROM busybox AS slow",
      "RUN sleep 20; echo never-reached",
      "FROM busybox AS bad",
      "RUN sleep 1; exit 21",
      "FROM slow",
      "COPY --from=bad / /",
    ]);
    expect(failed.exitCode).toBe(21);
    expect(failed.message).toContain("Dockerfile:4");
    expect(failed.output).not.toContain("never-reached");
    const messages = failed.events.flatMap((event) =>
      event.type === "step-failed" && event.message !== "stopped" ? [event.message] : [],
    );
    expect(messages).toEqual([failed.message]);
    const ends = new Set(["step-done", "step-failed"]);
    const count = (types: ReadonlySet<string>): number =>
      failed.events.filter(({ type }) => types.has(type)).length;
    expect(count(ends)).toBe(count(new Set(["step-start"])));
  });

  test("of stages that fail together one is told", async () => {
    const failed = await bench.fails([
      "FROM busybox AS bad",
      "RUN echo bad; exit 21",
      "FROM busybox AS worse",
      "RUN echo worse; exit 22",
      "FROM bad",
      "COPY --from=worse / /",
    ]);
    const line = { 21: 2, 22: 4 }[failed.exitCode];
    expect(failed.message.match(/^Dockerfile:\d+/gm)).toEqual([`Dockerfile:${line}`]);
  });

  test.each([
    ["itself", ["FROM busybox AS a", "COPY --from=a /x /"], /circular|itself|current/i],
    [
      "a later stage",
      ["FROM busybox AS a", "COPY --from=b /x /", "FROM a AS b"],
      /needs to be defined before current stage/,
    ],
    [
      "a variable",
      ["FROM busybox AS a", "ARG s=a", "COPY --from=$s /x /"],
      /variable expansion is not supported for --from/,
    ],
    ["a stage that is not there", ["FROM busybox", "COPY --from=7 /x /"], /7/],
  ])("--from refuses %s", async (_, lines, message) => {
    const failed = await bench.fails(lines);
    expect(failed.message).toMatch(message);
    expect(failed.message).toMatch(/Dockerfile:[23]/);
  });

  test("an image to copy from that is not there is told before anything runs", async () => {
    const failed = await bench.fails([
      "FROM busybox",
      "RUN echo never-reached",
      "COPY --from=none-such /x /",
    ]);
    expect(failed.message).toContain("Dockerfile:3");
    expect(failed.message).toContain("none-such");
    expect(failed.output).not.toContain("never-reached");
  });

  test("many stages at once are no leak to Node", async () => {
    const warnings: Error[] = [];
    const onWarning = (warning: Error): number => warnings.push(warning);
    process.on("warning", onWarning);
    const names = Array.from({ length: 16 }, (_, i) => `stage${i}`);
    const built = await bench.build([
      ...names.flatMap((name) => [`FROM busybox AS ${name}`, `RUN echo ${name} > /${name}`]),
      "FROM scratch",
      ...names.map((name) => `COPY --from=${name} /${name} /`),
    ]);
    process.off("warning", onWarning);
    expect(built.text("stage15")).toBe("stage15\n");
    expect(warnings).toEqual([]);
  });

  test("a target that is not there is named, with those that are", async () => {
    const failed = await bench.fails(["FROM busybox AS alpha", "FROM busybox AS beta"], {
      target: "gamma",
    });
    expect(failed.message).toMatch(/gamma/);
    expect(`${failed.message}${failed.error.hint ?? ""}`).toMatch(/alpha.*beta/s);
  });
});

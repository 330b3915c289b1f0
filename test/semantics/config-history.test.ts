import { expect, test } from "vitest";
import { describeUnless } from "../support/tools-suite.js";
import { LACKS, useBench } from "./support.js";

const PATH = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

describeUnless(LACKS, "config and history", () => {
  const bench = useBench();

  test("every instruction but FROM and ONBUILD has its line of history", async () => {
    const built = await bench.build(
      [
        "FROM busybox",
        "ARG who=me none",
        "ENV a=1 b='x y'",
        "LABEL l=m",
        "RUN echo one",
        'RUN ["echo", "two words"]',
        "ARG who=you",
        "RUN echo $who",
        "COPY --chown=1:2 --chmod=640 a b /d/",
        "ADD a /added",
        "COPY <<one <<two /heredocs/",
        "1",
        "one",
        "2",
        "two",
        "WORKDIR /w",
        "WORKDIR sub",
        "WORKDIR /",
        "USER 1:2",
        "EXPOSE 90 80/udp",
        "VOLUME /v1 /v2",
        "STOPSIGNAL 9",
        'SHELL ["/bin/sh", "-e", "-c"]',
        'CMD ["a", "b\\"c"]',
        "ENTRYPOINT run it",
        "ONBUILD RUN true",
        "MAINTAINER A Name",
      ],
      { files: { a: "a", b: "b" } },
    );
    expect(built.history).toEqual([
      "ARG who=me none",
      "ENV a=1 b=x y",
      "LABEL l=m",
      "RUN |2 who=me none= /bin/sh -c echo one # buildkit",
      "RUN |2 who=me none= echo two words # buildkit",
      "ARG who=you",
      "RUN |2 who=you none= /bin/sh -c echo $who # buildkit",
      "COPY --chown=1:2 --chmod=640 a b /d/ # buildkit",
      "ADD a /added # buildkit",
      "COPY <<one <<two /heredocs/ # buildkit",
      "WORKDIR /w",
      "WORKDIR /w/sub",
      "WORKDIR /",
      "USER 1:2",
      "EXPOSE [80/udp 90/tcp]",
      "VOLUME [/v1 /v2]",
      "STOPSIGNAL 9",
      "SHELL [/bin/sh -e -c]",
      'CMD ["a" "b\\"c"]',
      'ENTRYPOINT ["/bin/sh" "-e" "-c" "run it"]',
      "MAINTAINER A Name",
    ]);
    const own = built.config.history.slice(1);
    const layered = own.filter((entry) => entry.empty_layer !== true);
    expect(layered.map((entry) => entry.created_by?.split(" ")[0])).toEqual([
      "RUN",
      "RUN",
      "RUN",
      "COPY",
      "ADD",
      "COPY",
      "WORKDIR",
      "WORKDIR",
    ]);
    expect(new Set(own.map((entry) => entry.comment))).toEqual(new Set(["buildkit.dockerfile.v0"]));
    expect(built.layers).toHaveLength(1 + layered.length);
    // A RUN that changes nothing has a layer all the same.
    expect(built.layers[1]?.size).toBe(0);
    expect(built.config.created).toBe(own.at(-1)?.created);
    expect(built.config.config).toMatchObject({
      OnBuild: ["RUN true"],
      StopSignal: "9",
      ExposedPorts: { "80/udp": {}, "90/tcp": {} },
      Volumes: { "/v1": {}, "/v2": {} },
      WorkingDir: "/",
      User: "1:2",
      Shell: ["/bin/sh", "-e", "-c"],
    });
  });

  test("ENTRYPOINT drops the base's CMD, and keeps one that the stage has set", async () => {
    const first = await bench.build(["FROM busybox", 'ENTRYPOINT ["e"]']);
    expect(first.config.config.Cmd ?? undefined).toBeUndefined();
    const second = await bench.build(["FROM busybox", "CMD c", "ENTRYPOINT e", "ENTRYPOINT f"]);
    expect(second.config.config.Cmd).toEqual(["/bin/sh", "-c", "c"]);
    expect(second.config.config.ArgsEscaped).toBe(true);
    const third = await bench.build([
      "FROM busybox AS base",
      'CMD ["c"]',
      "FROM base",
      'ENTRYPOINT ["e"]',
    ]);
    expect(third.config.config.Cmd ?? undefined).toBeUndefined();
  });

  test("empty arrays clear, and what is no JSON is a shell command", async () => {
    const cleared = await bench.build(["FROM busybox", "CMD []", "ENTRYPOINT []"]);
    expect(cleared.config.config.Cmd ?? []).toEqual([]);
    expect(cleared.config.config.Entrypoint ?? []).toEqual([]);
    const shell = await bench.build([
      "FROM busybox",
      "CMD ['single', \"x\"]",
      'ENTRYPOINT ["a" "b"]',
    ]);
    expect(shell.config.config.Cmd).toEqual(["/bin/sh", "-c", "['single', \"x\"]"]);
    expect(shell.config.config.Entrypoint).toEqual(["/bin/sh", "-c", '["a" "b"]']);
  });

  test("SHELL serves what comes after it, and HEALTHCHECK has its own shell", async () => {
    const built = await bench.build([
      "FROM busybox",
      "CMD before",
      'SHELL ["/bin/sh", "-xc"]',
      "RUN echo $0 $- > /flags",
      "ENTRYPOINT after",
      "HEALTHCHECK --interval=1m30s --timeout=500ms --start-period=2s --start-interval=1s --retries=3 CMD  a  'b' ",
    ]);
    expect(built.text("flags")).toContain("x");
    expect(built.config.config).toMatchObject({
      Cmd: ["/bin/sh", "-c", "before"],
      Entrypoint: ["/bin/sh", "-xc", "after"],
      Healthcheck: {
        Test: ["CMD-SHELL", "a  'b'"],
        Interval: 90e9,
        Timeout: 5e8,
        StartPeriod: 2e9,
        StartInterval: 1e9,
        Retries: 3,
      },
    });
    const none = await bench.build(["FROM busybox", 'HEALTHCHECK CMD ["x"]', "HEALTHCHECK NONE"]);
    expect(none.config.config.Healthcheck).toEqual({ Test: ["NONE"] });
  });

  test("labels: the last wins, those of the command line are for the result alone", async () => {
    const built = await bench.build(
      [
        "FROM busybox AS other",
        "LABEL other=1 shared=other",
        "RUN touch /x",
        "FROM busybox AS base",
        'LABEL a=1 a=2 "with space"="x y" multi="one\\',
        ' two"',
        "LABEL inherited=yes",
        "FROM base",
        "COPY --from=other /x /",
        "LABEL a=3",
      ],
      { labels: { cli: "k=v", inherited: "replaced" } },
    );
    expect(built.config.config.Labels).toEqual({
      a: "3",
      "with space": "x y",
      multi: "one two",
      inherited: "replaced",
      cli: "k=v",
    });
    expect(built.history.join("\n")).not.toContain("cli");
  });

  test("EXPOSE: ranges, protocols, several words from one variable", async () => {
    const built = await bench.build([
      "FROM busybox",
      "ENV ports='3000 4000/UDP'",
      "EXPOSE 7000-7002 $ports 80/sctp 127.0.0.1:8080:81",
    ]);
    expect(Object.keys(built.config.config.ExposedPorts ?? {}).sort()).toEqual([
      "3000/tcp",
      "4000/udp",
      "7000/tcp",
      "7001/tcp",
      "7002/tcp",
      "80/sctp",
      "81/tcp",
    ]);
  });

  test("scratch has a PATH, a working directory and nothing else", async () => {
    const built = await bench.build(["FROM scratch", "LABEL a=b"]);
    expect(built.config.config.Env).toEqual([PATH]);
    expect(built.config.config.WorkingDir).toBe("/");
    expect(built.layers).toHaveLength(0);
    expect(built.config.os).toBe("linux");
  });

  test("a platform that is asked for stands in the config", async () => {
    const built = await bench.build(
      ["FROM scratch", "COPY f /", "ARG TARGETVARIANT", "LABEL v=$TARGETVARIANT"],
      {
        platform: "linux/arm/v7",
        files: { f: "" },
      },
    );
    expect(built.config).toMatchObject({ os: "linux", architecture: "arm", variant: "v7" });
    expect(built.config.config.Labels).toEqual({ v: "v7" });
  });

  test("VOLUME makes nothing and freezes nothing", async () => {
    const built = await bench.build([
      "FROM busybox",
      "VOLUME /none /data",
      "RUN [ ! -e /none ] && mkdir /data && echo kept > /data/file",
      "RUN cat /data/file",
      'VOLUME ["/with space"]',
    ]);
    expect(built.text("data/file")).toBe("kept\n");
    expect(built.facts("none")).toBeUndefined();
    expect(Object.keys(built.config.config.Volumes ?? {}).sort()).toEqual(
      ["/data", "/none", "/with space"].sort(),
    );
  });

  test("SOURCE_DATE_EPOCH is the time of the image and of what this build adds to the history", async () => {
    const epoch = "1500000000";
    const time = "2017-07-14T02:40:00Z";
    const lines = [
      "FROM busybox",
      "LABEL a=b",
      "RUN touch -d @1600000000 /f",
      "COPY <<EOF /h",
      "EOF",
    ];
    const built = await bench.build(lines, { buildArgs: { SOURCE_DATE_EPOCH: epoch } });
    expect(built.config.created).toBe(time);
    expect(built.config.history.map(({ created }) => created)).toEqual([
      "2023-11-14T22:13:20Z",
      time,
      time,
      time,
    ]);
    // Times of files are left alone unless the image is to be reproducible.
    expect(built.files.get("f")?.mtime).toBe(1_600_000_000);
    const clamped = await bench.build(lines, {
      environment: { SOURCE_DATE_EPOCH: epoch },
      reproducible: true,
    });
    expect(clamped.files.get("f")?.mtime).toBe(1_500_000_000);
    const alone = await bench.build(["FROM busybox"], { buildArgs: { SOURCE_DATE_EPOCH: epoch } });
    expect(alone.config.created).toBe(time);
    const declared = await bench.build([
      `ARG SOURCE_DATE_EPOCH=${epoch}`,
      "FROM scratch",
      "LABEL a=b",
    ]);
    expect(declared.config.created).toBe(time);
  });

  test("built twice with two stores and --reproducible, the image is the same", async () => {
    const lines = [
      "FROM busybox AS made",
      "RUN mkdir -p /out/d && date +%N > /dev/null && echo x > /out/d/x && ln /out/d/x /out/d/y",
      "FROM busybox",
      "WORKDIR /work",
      "COPY --from=made /out /out",
      "COPY . .",
      "ADD <<EOF /heredoc",
      "text",
      "EOF",
      "RUN rm /etc/group && echo > /new",
    ];
    const files = { b: "b", a: "a", "d/c": "c" };
    const first = await bench.build(lines, { files, reproducible: true, ownStore: true });
    await new Promise((resolve) => setTimeout(resolve, 1_100)); // so that the clock shows other seconds
    const second = await bench.build(lines, { files, reproducible: true, ownStore: true });
    expect(second.digest).toBe(first.digest);
  });
});

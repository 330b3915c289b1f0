import { expect, test } from "vitest";
import { describeUnless } from "../support/tools-suite.js";
import { LACKS, useBench } from "./support.js";

const PATH = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

describeUnless(LACKS, "variables", () => {
  const bench = useBench();

  test("ENV takes old values within one instruction and keeps its place in the list", async () => {
    const built = await bench.build([
      "FROM busybox",
      "ENV a=1 z=26",
      "ENV a=2 b=$a",
      "ENV legacy k=v  w $a",
      "ENV quoted=\"x  y\" single='$a' escaped=\\$a joined=a\\ b",
      "ENV $legacy=no${a}n",
      'RUN [ "$a$b" = 21 ] && [ "$legacy" = "k=v  w 2" ] && [ "$quoted" = "x  y" ]',
      "RUN [ \"$single\" = '$a' ] && [ \"$escaped\" = '$a' ] && [ \"$joined\" = 'a b' ]",
    ]);
    expect(built.config.config.Env).toEqual([
      PATH,
      "a=2",
      "z=26",
      "b=1",
      "legacy=k=v  w 2",
      "quoted=x  y",
      "single=$a",
      "escaped=$a",
      "joined=a b",
      "k=v  w 2=no2n",
    ]);
  });

  test("every operator of an expansion gives what a shell gives", async () => {
    const built = await bench.build([
      "FROM busybox",
      "ENV set=x empty= path=a/b/c.tar.gz",
      "LABEL dash=${unset-d}${empty-d}${set-d} colondash=${unset:-d}${empty:-d}${set:-d} \\",
      "  plus=${unset+p}.${empty+p}.${set+p} colonplus=${unset:+p}.${empty:+p}.${set:+p} \\",
      "  ask=${set?no}${empty?no} short=${path#*/} long=${path##*/} head=${path%.*} stem=${path%%.*} \\",
      "  first=${path/a/A} all=${path//\\//-} nested=${unset:-${set}${empty:-e}} bare=$unset.",
    ]);
    expect(built.config.config.Labels).toEqual({
      dash: "dx",
      colondash: "ddx",
      plus: ".p.p",
      colonplus: "..p",
      ask: "x",
      short: "b/c.tar.gz",
      long: "c.tar.gz",
      head: "a/b/c.tar",
      stem: "a/b/c",
      first: "A/b/c.tar.gz",
      all: "a-b-c.tar.gz",
      nested: "xe",
      bare: ".",
    });
  });

  test("an ARG without a value is undefined, with an empty one empty, and a build arg wins", async () => {
    await bench.build(
      [
        "FROM busybox",
        "ARG nothing",
        "ARG blank=",
        "ARG given=default",
        "ARG emptied=default",
        "ARG kept=default",
        "ARG late=${nothing:?must not be looked at}",
        "ARG one=1 two=2$one",
        'RUN [ -z "${nothing+set}" ] && [ -n "${blank+set}" ] && [ -z "$blank" ]',
        'RUN [ "$given" = mine ] && [ -n "${emptied+set}" ] && [ -z "$emptied" ]',
        'RUN [ "$kept" = default ] && [ "$late" = known ] && [ "$one$two" = 121 ]',
        'RUN [ -z "${undeclared+set}" ]',
      ],
      { buildArgs: { given: "mine", emptied: "", late: "known", undeclared: "x" } },
    );
  });

  test("ENV and ARG of one name: the later one is seen, and the image keeps the ENV", async () => {
    const built = await bench.build(
      [
        "FROM busybox",
        "ENV first=env",
        "ARG first=arg",
        'RUN [ "$first" = arg ]',
        "ARG second=arg",
        "ENV second=env",
        'RUN [ "$second" = env ]',
        "ENV third=env",
        "ARG third",
        'RUN [ "$third" = env ]',
        "ENV fourth=env",
        "ARG fourth",
        'RUN [ "$fourth" = given ]',
        "LABEL first=$first second=$second",
      ],
      { buildArgs: { fourth: "given" } },
    );
    expect(built.config.config.Env).toEqual([
      PATH,
      "first=env",
      "second=env",
      "third=env",
      "fourth=env",
    ]);
    expect(built.config.config.Labels).toEqual({ first: "arg", second: "env" });
  });

  test("a global ARG reaches FROM lines, and stages that declare it again", async () => {
    await bench.build(
      [
        "ARG BASE=busybox",
        "ARG TAG=latest",
        "ARG FULL=$BASE:${TAG}",
        "FROM ${FULL} AS one",
        'RUN [ -z "${TAG+set}" ] && [ -z "${FULL+set}" ]',
        "ARG TAG",
        'RUN [ "$TAG" = latest ]',
        "ARG TAG=own",
        'RUN [ "$TAG" = own ]',
        "ARG mine=inherited",
        "FROM one AS two",
        'RUN [ "$TAG" = own ] && [ "$mine" = inherited ]',
        "FROM busybox",
        'RUN [ -z "${mine+set}" ] && [ -z "${TAG+set}" ]',
        "ARG FULL",
        'RUN [ "$FULL" = busybox:latest ]',
        "COPY --from=two /etc/passwd /p",
      ],
      { buildArgs: { unrelated: "1" } },
    );
  });

  test("platform and stage arguments are there for stages that declare them", async () => {
    const built = await bench.build([
      "FROM --platform=$BUILDPLATFORM busybox AS base",
      'RUN [ -z "$TARGETPLATFORM$BUILDPLATFORM$TARGETSTAGE" ]',
      "ARG TARGETPLATFORM BUILDPLATFORM TARGETOS TARGETARCH TARGETVARIANT TARGETSTAGE",
      'RUN [ "$TARGETPLATFORM" = "$BUILDPLATFORM" ] && [ "$TARGETPLATFORM" = "$TARGETOS/$TARGETARCH" ]',
      'RUN [ -n "${TARGETVARIANT+set}" ] && echo "$TARGETSTAGE" > /stage',
      "FROM base",
      "LABEL stage=$TARGETSTAGE",
    ]);
    expect(built.text("stage")).toBe("default\n");
    const named = ["FROM busybox AS First", "ARG TARGETSTAGE", "RUN echo $TARGETSTAGE > /stage"];
    expect((await bench.build(named)).text("stage")).toBe("first\n");
    const target = await bench.build([...named, "FROM scratch AS last"], { target: "FIRST" });
    expect(target.text("stage")).toMatch(/^first\n$/i);
  });

  test("proxies reach steps in both cases without a trace in the image", async () => {
    const built = await bench.build(
      [
        "FROM busybox",
        'RUN [ "$(echo "$HTTP_PROXY" | cut -c8-)" = p:1 ] && [ "$http_proxy" = "$HTTP_PROXY" ]',
        'RUN [ "$no_proxy" = x ] && [ "$NO_PROXY" = x ]',
        'RUN [ "$all_proxy$ALL_PROXY" = allall ] && [ "$ftp_proxy$FTP_PROXY" = ftpftp ]',
        'RUN [ -z "${HTTPS_PROXY+set}${https_proxy+set}" ]',
        "LABEL seen=${HTTP_PROXY:-no}",
      ],
      {
        buildArgs: { HTTP_PROXY: "http://p:1", no_proxy: "x", All_Proxy: "all", ftp_proxy: "ftp" },
      },
    );
    expect(built.config.config.Labels).toEqual({ seen: "no" });
    expect(JSON.stringify(built.config)).not.toContain("http://p:1");
  });

  test("the proxies of build args go before those of ENV, an empty one does not", async () => {
    await bench.build(
      [
        "FROM busybox",
        "ENV http_proxy=http://image:1 FTP_PROXY=http://image:2",
        'RUN [ "$http_proxy $HTTP_PROXY" = "http://p:1 http://p:1" ]',
        'RUN [ "$FTP_PROXY" = http://image:2 ]',
      ],
      { buildArgs: { HTTP_PROXY: "http://p:1", ftp_proxy: "" } },
    );
  });

  test("a declared proxy is an ARG like any other", async () => {
    const built = await bench.build(
      ["FROM busybox", "ARG HTTP_PROXY", "RUN true", "LABEL seen=$HTTP_PROXY"],
      { buildArgs: { HTTP_PROXY: "http://p:1" } },
    );
    expect(built.config.config.Labels).toEqual({ seen: "http://p:1" });
    expect(built.history[1]).toBe("RUN |1 HTTP_PROXY=http://p:1 /bin/sh -c true # buildkit");
  });

  test("what expands and what does not", async () => {
    const built = await bench.build(
      [
        "FROM busybox",
        "ENV name=made user=daemon port=80 sig=SIGQUIT word='a b' bits=64",
        "WORKDIR /$name",
        "USER $user",
        "EXPOSE $port ${port}80/udp",
        "VOLUME /v$name",
        "STOPSIGNAL $sig",
        "COPY --chown=$user --chmod=${bits}0 ${name}.txt $name-copied.txt",
        'CMD echo "$name"',
        'ENTRYPOINT ["$name"]',
        "HEALTHCHECK CMD echo $name",
        "MAINTAINER $name",
        "COPY $word /spaced/",
        'SHELL ["/bin/$name"]',
      ],
      { files: { "made.txt": "made\n", "a b": "spaced\n" } },
    );
    expect(built.facts("made/made-copied.txt")).toBe("file 640 1:1");
    expect(built.facts("made")).toBe("dir 755 0:0");
    expect(built.text("spaced/a b")).toBe("spaced\n");
    expect(built.config.author).toBe("$name");
    expect(built.config.config).toMatchObject({
      WorkingDir: "/made",
      User: "daemon",
      ExposedPorts: { "80/tcp": {}, "8080/udp": {} },
      Volumes: { "/vmade": {} },
      StopSignal: "SIGQUIT",
      Cmd: ["/bin/sh", "-c", 'echo "$name"'],
      Entrypoint: ["$name"],
      Healthcheck: { Test: ["CMD-SHELL", "echo $name"] },
      Shell: ["/bin/$name"],
    });
  });

  test("the escape directive changes words and line ends, and a double escape is data", async () => {
    const built = await bench.build([
      "# escape=`",
      "FROM busybox",
      "ENV win=c:\\temp esc=`$x",
      "RUN echo one `",
      "",
      "  # a comment in between",
      "  two > /text",
      'LABEL "a"=b`',
      "c",
    ]);
    expect(built.config.config.Env).toContain("win=c:\\temp");
    expect(built.config.config.Env).toContain("esc=$x");
    expect(built.text("text")).toBe("one two\n");
    expect(built.config.config.Labels).toEqual({ a: "bc" });
    const failed = await bench.fails(["FROM busybox", "RUN echo '\\\\", "RUN echo b'"]);
    // Two escapes at the end continue nothing: the first line's quote stays open.
    expect(failed.message).toContain("Dockerfile:2");
    const joined = ["FROM busybox", "RUN echo one \\  ", "  two > /text"];
    expect((await bench.build(joined)).text("text")).toBe("one two\n");
  });
});

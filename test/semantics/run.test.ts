import { expect, test } from "vitest";
import { describeUnless } from "../support/tools-suite.js";
import { LACKS, useBench } from "./support.js";

const USERS = [
  "RUN echo 'ann:x:1001:2002::/home/ann:/bin/sh' >> /etc/passwd",
  "RUN printf 'club:x:3003:ann\\nother:x:4004:root,ann\\n' >> /etc/group",
];

describeUnless(LACKS, "RUN", () => {
  const bench = useBench();

  test("the shell form has a shell, the exec form none and no variables of the builder", async () => {
    const built = await bench.build([
      "FROM busybox",
      "ENV v=1",
      "RUN echo $v > /shell; echo $0 >> /shell",
      'RUN ["/bin/busybox", "touch", "/exec-$v"]',
      'RUN ["touch", "/by-path"]',
      "RUN ['not json'] || echo quoted > /single",
      "RUN echo a; \\",
      "  # a comment",
      "",
      "  echo b > /continued",
    ]);
    expect(built.text("shell")).toBe("1\n/bin/sh\n");
    expect(built.files.has("exec-$v")).toBe(true);
    expect(built.files.has("by-path")).toBe(true);
    expect(built.text("single")).toBe("quoted\n");
    expect(built.text("continued")).toBe("b\n");
  });

  test("the exec form needs no shell in the image", async () => {
    const built = await bench.build([
      "FROM busybox AS tools",
      "FROM scratch",
      "COPY --from=tools /bin/busybox /busybox",
      'RUN ["/busybox", "mkdir", "/made"]',
      "ENV PATH=/",
      'RUN ["busybox", "touch", "/made/by-path"]',
    ]);
    expect(built.files.has("made/by-path")).toBe(true);
    expect([...built.layers[0]!.keys()]).toEqual(["busybox"]);
  });

  test("a step has PATH, HOME, its directory, umask 022 and nothing to read", async () => {
    const built = await bench.build([
      "FROM busybox",
      ...USERS,
      'RUN [ "$HOME" = /root ] && [ "$PWD" = / ] && [ "$(umask)" = 0022 ] && [ -z "$(cat)" ]',
      "USER ann",
      'RUN [ "$HOME" = /home/ann ]',
      "USER 1001",
      'RUN [ "$HOME" = /home/ann ]',
      "USER 77",
      'RUN [ "$HOME" = / ]',
      "ENV HOME=/mine",
      'RUN [ "$HOME" = /mine ]',
      "USER root",
      'RUN env | cut -d= -f1 | sort | tr "\\n" " " > /names',
    ]);
    expect(built.text("names")).toMatch(/^HOME PATH PWD SHLVL $/);
    expect(built.config.config.Env?.some((pair) => pair.startsWith("HOME="))).toBe(true);
  });

  test("USER by name has its groups, with a group only that, and an unknown number group 0", async () => {
    await bench.build([
      "FROM busybox",
      ...USERS,
      "USER ann",
      'RUN [ "$(id -u):$(id -g)" = 1001:2002 ] && [ "$(id -G)" = "2002 3003 4004" ]',
      "USER ann:club",
      'RUN [ "$(id -G)" = 3003 ]',
      "USER 1001",
      'RUN [ "$(id -g)" = 2002 ] && [ "$(id -G)" = "2002 3003 4004" ]',
      "USER 4242",
      'RUN [ "$(id -u):$(id -g)" = 4242:0 ] && [ "$(id -G)" = 0 ]',
      "USER 4242:17",
      'RUN [ "$(id -u):$(id -g)" = 4242:17 ]',
      "USER root",
      'RUN [ "$(id -u)" = 0 ] && id -G | grep -qw 4004',
    ]);
  });

  test("an unknown user is an error at the step that would be theirs, with a hint", async () => {
    const failed = await bench.fails(["FROM busybox", "USER nobody-here", "RUN true"]);
    expect(failed.message).toContain("Dockerfile:3");
    expect(failed.message).toMatch(/"nobody-here".*no matching entries in .*passwd/);
    expect(failed.error.hint).toContain("/etc/passwd");
    const group = await bench.fails(["FROM busybox", "USER root:none", "RUN true"]);
    expect(group.message).toMatch(/"none".*no matching entries in .*group/);
    await bench.build(["FROM busybox", "USER nobody-here:none", "LABEL a=b"]);
  });

  test("WORKDIR is made for its user, kept when it is there, and followed through links", async () => {
    const built = await bench.build([
      "FROM busybox",
      "RUN mkdir -m 700 /old /target && ln -s /target /link && chown 5:6 /old",
      "WORKDIR /old",
      "USER daemon",
      "WORKDIR made/deep",
      "USER 4242",
      "WORKDIR /by/number",
      "USER root",
      "WORKDIR /link/below",
      'RUN [ "$(pwd -P)" = /target/below ] && echo > here',
      "WORKDIR /",
    ]);
    expect(built.facts("old")).toBe("dir 700 5:6");
    expect(built.facts("old/made")).toBe("dir 755 1:1");
    expect(built.facts("old/made/deep")).toBe("dir 755 1:1");
    expect(built.facts("by/number")).toBe("dir 755 4242:4242");
    expect(built.files.get("link")).toMatchObject({ type: "symlink", target: "/target" });
    expect(built.files.has("target/below/here")).toBe(true);
    const failed = await bench.fails(["FROM busybox", "RUN echo > /f", "WORKDIR /f/below"]);
    expect(failed.message).toContain("Dockerfile:3");
  });

  test("WORKDIR makes a layer wherever it leads but to the root, one with nothing in it where all is there", async () => {
    const built = await bench.build(["FROM busybox", "WORKDIR /etc", "WORKDIR .", "WORKDIR /"]);
    expect(built.layers.slice(1).map((layer) => [...layer.keys()])).toEqual([[], []]);
    expect(built.history).toEqual(["WORKDIR /etc", "WORKDIR /etc", "WORKDIR /"]);
  });

  test("a working directory that a step took away is made again", async () => {
    const built = await bench.build([
      "FROM busybox",
      "WORKDIR /w",
      "RUN rmdir /w",
      "RUN echo > file",
    ]);
    expect(built.files.has("w/file")).toBe(true);
  });

  test("only what the step changed is in its layer: no mount points, hosts or resolv.conf", async () => {
    const built = await bench.build([
      "FROM busybox",
      "RUN --mount=type=tmpfs,target=/made/by/mount --mount=type=cache,target=/etc/cache echo x > /made/by/mount/f && grep -q localhost /etc/hosts && [ -e /etc/resolv.conf ]",
      "RUN echo x > /only && [ ! -e /made ] && [ ! -e /etc/cache ]",
      "RUN hostname > /dev/null; [ -e /proc/self ] && [ -d /sys ] && echo x > /dev/shm/x && echo x > /dev/null",
    ]);
    expect(built.layers.slice(1).map((layer) => [...layer.keys()])).toEqual([[], ["only"], []]);
  });

  test("a directory that is removed and made again shows nothing of what it was", async () => {
    const built = await bench.build([
      "FROM busybox",
      "RUN mkdir -p /d/sub /gone && touch /d/old /d/sub/old /gone/f /file",
      "RUN rm -r /d && mkdir /d && touch /d/new && rm -r /gone && rm /file && mkdir /file",
      'RUN [ "$(ls /d)" = new ] && [ ! -e /gone ] && [ -d /file ]',
    ]);
    expect(built.files.has("d/new")).toBe(true);
    expect(built.files.has("d/old")).toBe(false);
    expect(built.files.has("d/sub")).toBe(false);
    expect(built.files.has("gone")).toBe(false);
    expect(built.facts("file")).toMatch(/^dir /);
  });

  test("owners, modes, links and devices of a step are in its layer", async () => {
    const built = await bench.build([
      "FROM busybox",
      "RUN touch /f && chown 12:34 /f && chmod 6755 /f && ln /f /hard && ln -s /f /soft && mkfifo /pipe && mkdir -m 1777 /sticky",
      "RUN touch -d @1234567890 /old && chmod 600 /etc/passwd",
    ]);
    expect(built.facts("f")).toBe("file 6755 12:34");
    expect(["f", "hard"].map((path) => built.layers[1]?.get(path)?.type)).toEqual([
      "file",
      "hardlink",
    ]);
    expect(built.files.get("soft")?.target).toBe("/f");
    expect(built.files.get("pipe")?.type).toBe("fifo");
    expect(built.facts("sticky")).toBe("dir 1777 0:0");
    expect(built.files.get("old")?.mtime).toBe(1_234_567_890);
    expect(built.facts("etc/passwd")).toBe("file 600 0:0");
  });

  test("--network=none has nothing but the loopback", async () => {
    await bench.build([
      "FROM busybox",
      "RUN --network=none [ \"$(tail -n +3 /proc/net/dev | cut -d: -f1 | tr -d ' ')\" = lo ]",
      "RUN --network=default true",
      "RUN --security=sandbox true",
    ]);
  });

  test.each([
    ["RUN --network=host true", /network\.host is not allowed/],
    ["RUN --security=insecure true", /security\.insecure is not allowed/],
    ["RUN --device=vendor.com/x=y,required true", /device "vendor.com\/x=y" is not registered/],
  ])("%s is refused before anything runs", async (line, message) => {
    const failed = await bench.fails(["FROM busybox", "RUN echo ran", line]);
    expect(failed.message).toMatch(message);
    expect(failed.message).toContain("Dockerfile:3");
    expect(failed.output).not.toContain("ran");
    expect(failed.exitCode).toBe(65);
  });

  test("a failing command gives its code, its text, its place and its last lines", async () => {
    const failed = await bench.fails([
      "FROM busybox",
      "ARG who=me",
      "RUN for i in 1 2 3 4 5 6 7 8 9 10 11 12; do echo line $i; done; \\",
      "    echo bad >&2; exit 7",
    ]);
    expect(failed.exitCode).toBe(7);
    expect(failed.error.code).toBe("RUN_FAILED");
    expect(failed.message).toContain("Dockerfile:3");
    expect(failed.message).toMatch(
      /process "\/bin\/sh -c for .*" did not complete successfully: exit code: 7/,
    );
    expect(failed.message).toContain("line 12");
    expect(failed.message).toContain("bad");
    expect(failed.message).not.toMatch(/line 2\n/);
  });

  test.each([
    ["RUN exec /bin/nothing", 127, /exit code: 127/],
    ["RUN chmod -x /bin/busybox; echo > /x; /x", 126, /exit code: 126/],
    ['RUN ["/none"]', 127, /\/none/],
    ['RUN ["/etc/passwd"]', 126, /\/etc\/passwd/],
    ["RUN sh -c 'kill -9 $$'; exit $?", 137, /exit code: 137/],
  ])("%s ends with %i", async (line, code, message) => {
    const failed = await bench.fails(["FROM busybox", line]);
    expect(failed.exitCode).toBe(code);
    expect(failed.message).toMatch(message);
    expect(failed.message).toContain("Dockerfile:2");
  });
});

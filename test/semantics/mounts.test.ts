import { mkdir, writeFile } from "node:fs/promises";
import { createServer } from "node:net";
import { join } from "node:path";
import { expect, test } from "vitest";
import { describeUnless } from "../support/tools-suite.js";
import { file, LACKS, link, useBench } from "./support.js";

describeUnless(LACKS, "RUN --mount", () => {
  const bench = useBench();
  let secrets = 0;
  const secret = async (content: string): Promise<{ readonly file: string }> => {
    const path = join(bench.path, `secret-${secrets++}`);
    await writeFile(path, content);
    return { file: path };
  };

  test("bind: the context, a stage, an image, a file; read only unless told, and writes are lost", async () => {
    const built = await bench.build(
      [
        "FROM busybox AS source",
        "RUN mkdir /s && echo stage > /s/f && ln -s /s/f /abs",
        "FROM busybox",
        "WORKDIR /w",
        'RUN --mount=target=/ctx [ "$(cat /ctx/dir/a)" = a ] && ! touch /ctx/new 2>/dev/null',
        'RUN --mount=type=bind,source=dir/a,target=rel [ "$(cat /w/rel)" = a ]',
        "RUN --mount=source=dir,target=/d,rw echo lost > /d/new && echo changed > /d/a && [ -e /d/new ]",
        'RUN --mount=source=dir,target=/d [ "$(cat /d/a)" = a ] && [ ! -e /d/new ]',
        'RUN --mount=from=source,source=/s,target=/s,rw [ "$(cat /s/f)" = stage ] && rm /s/f',
        'RUN --mount=from=source,source=/abs,target=/f [ "$(cat /f)" = stage ]',
        "RUN --mount=from=busybox,target=/image [ -x /image/bin/busybox ]",
        'RUN --mount=source=lnk,target=/l [ "$(cat /l/a)" = a ]',
        "RUN mkdir /shadowed && echo below > /shadowed/f",
        "RUN --mount=source=dir,target=/shadowed [ ! -e /shadowed/f ]",
        'RUN [ "$(cat /shadowed/f)" = below ]',
        "FROM busybox",
        "COPY --from=source /s/f /f",
        "COPY --from=1 /w /w",
      ],
      { files: { "dir/a": "a\n", lnk: link("dir") } },
    );
    expect(built.text("f")).toBe("stage\n");
    expect([...built.files.keys()].filter((path) => path.startsWith("w/"))).toEqual([]);
  });

  test("bind of a name that looks like a pattern", async () => {
    await bench.build(["FROM busybox", "RUN --mount=source=a[1]*,target=/x [ -e /x/f ]"], {
      files: { "a[1]*/f": "" },
    });
  });

  test("bind of what is not there is an error with its place", async () => {
    const failed = await bench.fails(["FROM busybox", "RUN --mount=source=none,target=/x true"]);
    expect(failed.message).toContain("Dockerfile:2");
    expect(failed.message).toMatch(/none/);
  });

  test("cache: kept between steps and builds, one for each id, owner and namespace", async () => {
    await bench.build([
      "FROM busybox",
      "RUN --mount=type=cache,target=/c echo 1 > /c/f",
      "RUN --mount=type=cache,target=/c/ [ -e /c/f ]",
      "RUN --mount=type=cache,target=/other,id=/c [ -e /other/f ]",
      "RUN --mount=type=cache,target=/c,id=new [ ! -e /c/f ]",
      'RUN --mount=type=cache,target=/c,uid=1000 [ ! -e /c/f ] && [ "$(stat -c %u:%g:%a /c)" = 1000:0:755 ]',
      'RUN --mount=type=cache,target=/c,gid=5,mode=0770 [ "$(stat -c %u:%g:%a /c)" = 0:5:770 ]',
      "RUN --mount=type=cache,target=/c,ro [ -e /c/f ] && ! touch /c/g 2>/dev/null",
      "RUN --mount=type=cache,target=/c,sharing=private [ -e /c/f ]",
      "RUN [ ! -e /c ]",
    ]);
    const again = [
      "FROM busybox",
      "ARG who",
      "RUN --mount=type=cache,target=/c [ -e /c/f ] # $who",
    ];
    await bench.build(again, { buildArgs: { who: "again" } });
    await bench.fails(again, { buildArgs: { who: "x", BUILDKIT_CACHE_MOUNT_NS: "apart" } });
  });

  test("cache: what it begins with, a part of it, and no way out of it", async () => {
    await bench.build([
      "FROM busybox AS seed",
      "RUN mkdir -p /s/sub && echo seed > /s/sub/f && chown -R 3:4 /s",
      "FROM busybox",
      'RUN --mount=type=cache,target=/c,id=seeded,from=seed,source=/s [ "$(cat /c/sub/f)" = seed ]',
      "RUN --mount=type=cache,target=/c,id=part mkdir /c/sub && echo x > /c/sub/f && ln -s /etc /c/out",
      "RUN --mount=type=cache,target=/c,id=part,source=sub [ -e /c/f ]",
    ]);
    const failed = await bench.fails([
      "FROM busybox",
      "RUN --mount=type=cache,target=/c,id=part,source=out true",
    ]);
    // The link leads to /etc inside of the cache, where there is none.
    expect(failed.message).toMatch(/Dockerfile:2:1: .*"\/out": not found/);
  });

  test("tmpfs is empty, may be written to and leaves nothing", async () => {
    const built = await bench.build([
      "FROM busybox",
      "RUN mkdir /t && echo kept > /t/f",
      'RUN --mount=type=tmpfs,target=/t,size=1m [ -z "$(ls /t)" ] && ! dd if=/dev/zero of=/t/big bs=1k count=2048 2>/dev/null',
      'RUN [ "$(cat /t/f)" = kept ]',
    ]);
    expect([...built.layers[2]!.keys()]).toEqual([]);
  });

  test("secrets: files with their mode, variables, both; nothing of them stays", async () => {
    const built = await bench.build(
      [
        "FROM busybox",
        'RUN --mount=type=secret,id=one [ "$(cat /run/secrets/one)" = s3c\\ret-1 ] && [ "$(stat -c %a:%u:%g /run/secrets/one)" = 400:0:0 ]',
        'RUN --mount=type=secret,target=/a/one,mode=0444,uid=5,gid=6 [ "$(stat -c %a:%u:%g /a/one)" = 444:5:6 ]',
        'RUN --mount=type=secret,id=one,env=ONE [ "$ONE" = s3c\\ret-1 ] && [ ! -e /run/secrets/one ]',
        'RUN --mount=type=secret,id=one,env=ONE,target=/f [ "$ONE" = "$(cat /f)" ]',
        'RUN --mount=type=secret,id=two,env=TWO [ "$TWO" = s3c\\ret-2 ]',
        "RUN --mount=type=secret,id=none [ ! -e /run/secrets/none ]",
        'RUN --mount=type=secret,id=none,env=NONE [ -z "${NONE+set}" ]',
        "ENV id=one",
        "RUN --mount=type=secret,id=$id,target=/$id [ -s /one ]",
        'RUN [ ! -e /run/secrets ] && [ ! -e /a ] && [ ! -e /f ] && [ -z "$ONE" ]',
      ],
      {
        secrets: { one: await secret("s3cret-1"), two: { env: "TWO_SECRET" } },
        environment: { TWO_SECRET: "s3cret-2" },
      },
    );
    expect(JSON.stringify(built.config)).not.toContain("s3cret");
    expect([...built.files].filter(([, found]) => found.text.includes("s3cret-"))).toEqual([]);
    expect(built.layers.slice(1).flatMap((layer) => [...layer.keys()])).toEqual([]);
  });

  test("a secret that is required and missing fails, and says how to give it", async () => {
    const failed = await bench.fails([
      "FROM busybox",
      "RUN --mount=type=secret,id=key,required true",
    ]);
    expect(failed.message).toMatch(/secret key: not found/);
    expect(failed.message).toContain("Dockerfile:2");
    expect(failed.error.hint).toContain("--secret id=key");
  });

  test("ssh: the agent's socket where SSH_AUTH_SOCK says, for the user who asks", async () => {
    const place = join(bench.path, "agents");
    await mkdir(place);
    const socket = join(place, "agent");
    const server = createServer((connection) => connection.end("agent speaking\n"));
    await new Promise<void>((resolve) => server.listen(socket, resolve));
    try {
      await bench.build(
        [
          "FROM busybox",
          'RUN --mount=type=ssh [ -S "$SSH_AUTH_SOCK" ] && [ "$SSH_AUTH_SOCK" = /run/buildkit/ssh_agent.0 ]',
          'RUN --mount=type=ssh,id=default,target=/agent,uid=5,mode=0666 [ "$SSH_AUTH_SOCK" = /agent ] && [ "$(stat -c %u:%a /agent)" = 5:666 ]',
          'RUN --mount=type=ssh,id=absent [ ! -e "$SSH_AUTH_SOCK" ]',
          'RUN [ -z "$SSH_AUTH_SOCK" ] && [ ! -e /run/buildkit ]',
        ],
        { sshAgents: { default: socket } },
      );
    } finally {
      await new Promise<void>((resolve) => server.close(() => resolve()));
    }
    const failed = await bench.fails(["FROM busybox", "RUN --mount=type=ssh,required true"]);
    expect(failed.message).toContain("unset ssh forward key default");
  });

  test.each([
    ["type=bind,target=/", /\//],
    ["type=bind,target=/x,mode=0700", /mode/],
    ["type=tmpfs,target=/x,uid=1", /uid/],
    ["type=bind,target=/x,sharing=locked", /sharing/],
    ["type=cache,target=/x,required", /required/],
    ["type=cache,target=/x,size=1m", /size/],
    ["type=secret,id=x,from=y", /from/],
    ["type=bind,from=$stage,target=/x", /variable|expan/i],
    ["type=wrong,target=/x", /wrong/],
    ["type=bind", /target/],
    ["type=cache,target=/x,colour=red", /colour/],
  ])("%s is refused", async (mount, message) => {
    const failed = await bench.fails(["FROM busybox", `RUN --mount=${mount} true`]);
    expect(failed.message).toMatch(message);
    expect(failed.message).toContain("Dockerfile:2");
    expect(failed.exitCode).toBe(65);
  });

  test("several mounts of one step lie upon each other, the outer one first", async () => {
    await bench.build(
      [
        "FROM busybox",
        'RUN --mount=source=a,target=/u/a --mount=type=tmpfs,target=/u [ "$(cat /u/a)" = a ] && echo > /u/f',
        'RUN --mount=type=tmpfs,target=/t --mount=source=a,target=/t/a --mount=type=cache,target=/t/c [ "$(cat /t/a)" = a ] && echo > /t/c/f && echo > /t/f',
      ],
      { files: { a: file("a\n") } },
    );
  });
});

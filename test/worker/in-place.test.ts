import { cp, mkdir, readdir, readFile, rm, writeFile } from "node:fs/promises";
import { existsSync } from "node:fs";
import { join } from "node:path";
import { afterAll, beforeAll, expect, test } from "vitest";
import { busyboxBase } from "../support/bases.js";
import { IN_PLACE_COMMAND, inPlaceRoot, lacksInPlaceHome } from "../support/in-place-home.js";
import { contentOf } from "../support/pod-workload.js";
import { lacksThrowaway, throwaway, type Throwaway } from "../support/throwaway.js";
import { CHECKOUT, lacksBuild } from "../support/tools-cli.js";
import { readLayout } from "../support/tools-images.js";
import { lacksTools, run, tempDir, type Outcome, type TempDir } from "../support/tools.js";
import { describeUnless, expectCode } from "../support/tools-suite.js";

/** Everything a step can ask for, in stages that take turns. */
const EVERYTHING = `FROM base AS one
RUN mkdir -p /d/e && echo f > /d/e/f && chown 12:34 /d/e/f && ln -s /d /link && ln /d/e/f /d/hard
RUN rm /d/e/f && mknod /d/fifo p && chmod 4711 /bin/busybox
FROM base AS other
RUN test ! -e /d && echo other > /made-by-other
FROM base
COPY --from=one /d /copied
RUN --mount=type=secret,id=token,target=/etc/token,mode=0440,gid=7 \\
    --mount=type=cache,id=c,target=/var/cache/x --mount=type=tmpfs,target=/tmp \\
    test "$(stat -c '%a %u:%g' /etc/token)" = "440 0:7" && grep -q s3cret /etc/token && \\
    echo once > /var/cache/x/kept && touch /tmp/gone && test ! -e /made-by-other
RUN --mount=type=cache,id=c,target=/home/cache --mount=type=bind,target=/source,rw \\
    --mount=from=other,source=/made-by-other,target=/deep/er/file \\
    grep once /home/cache/kept && test -f /source/Dockerfile && grep other /deep/er/file && \\
    test ! -e /etc/token && echo junk > /source/junk
RUN --mount=type=bind,source=sub,target=/usr/share,rw test "$(cat /usr/share/only)" = only && \\
    echo x > /usr/share/y
RUN test -e /etc/passwd && test ! -e /usr/share/only && test ! -e /source && test ! -e /deep
RUN (sleep 1000 &) ; true
RUN ! pgrep sleep
WORKDIR /work
USER 1000:1000
RUN --mount=type=cache,target=/work/own,uid=1000,gid=1000 id > /tmp/id && touch /work/own/mine
RUN <<SCRIPT
#!/bin/sh
echo "$0" > /tmp/script
SCRIPT
ENV LD_LIBRARY_PATH=/nowhere NODE_OPTIONS=--nonsense
RUN env > /tmp/env
`;
/** What looks into every process that runs node. */
const LOOK = `FROM base
RUN --mount=type=secret,id=token true
RUN test ! -e /run/secrets/token
RUN for p in /proc/[0-9]*; do \\
      case "$(cat $p/comm)" in node*) \\
        cat $p/environ > /dev/null 2>&1 && echo "environment of $p" >> /seen; \\
        readlink $p/fd/1 $p/root > /dev/null 2>&1 && echo "files of $p" >> /seen; \\
        head -c 1 $p/mem > /dev/null 2>&1 && echo "memory of $p" >> /seen; \\
        true;; esac; done; cat /proc/*/comm | grep -q node && test ! -e /seen
`;
/** Runs until it is stopped, with something from outside in three places. */
const STOPPED = `FROM base
RUN echo own > /etc/token && mkdir /var/c && touch /var/c/own
RUN --mount=type=secret,id=token,target=/etc/token --mount=type=cache,target=/var/c \\
    --mount=type=tmpfs,target=/tmp (sleep 999 &) ; touch /var/c/cached; sleep 888
`;
const BUSYBOX = "/kaniko/bin/busybox";
const TIMEOUT = { timeout: 300_000 };

describeUnless(
  [lacksThrowaway(), lacksInPlaceHome(), lacksBuild(), lacksTools("mmdebstrap", "dpkg-deb")],
  "a build in a container's own /",
  () => {
    let dir: TempDir;
    let root: string;

    beforeAll(async () => {
      dir = await tempDir();
      root = await inPlaceRoot(dir.path, CHECKOUT);
      await mkdir(join(dir.path, "context/sub"), { recursive: true });
      await writeFile(join(dir.path, "context/sub/only"), "only\n");
      await writeFile(join(dir.path, "token"), "s3cret\n");
      await cp(await busyboxBase(), join(dir.path, "base"), { recursive: true });
    }, 300_000);
    afterAll(() => dir?.[Symbol.asyncDispose]());

    const dockerfile = (text: string): Promise<void> =>
      writeFile(join(dir.path, "context/Dockerfile"), text);
    const container = (): Promise<Throwaway> => throwaway(root, { "/work-dir": dir.path });
    const flags = (at: string, output: string): readonly string[] => [
      `--context=${at}/context`,
      `--build-context=base=oci-layout://${at}/base`,
      `--secret=id=token,src=${at}/token`,
      "--no-push",
      `--oci-layout-path=${at}/${output}`,
    ];
    const inside = (
      box: Throwaway,
      output: string,
      more: readonly string[] = ["--driver=in-place"],
    ): Promise<Outcome> =>
      box.run([
        ...IN_PLACE_COMMAND,
        ...flags("/work-dir", output),
        "--store=/kaniko/store",
        ...more,
      ]);
    const outside = (output: string, more: readonly string[]): Promise<Outcome> =>
      run(process.execPath, [
        join(CHECKOUT, "bin/tsbuild.js"),
        ...flags(dir.path, output),
        `--store=${join(dir.path, "store")}`,
        ...more,
      ]);
    const content = async (output: string): Promise<Record<string, string>> =>
      contentOf(await readLayout(join(dir.path, output)), 1);
    const shell = (box: Throwaway, script: string): Promise<Outcome> =>
      box.run([BUSYBOX, "sh", "-c", script]);

    test(
      "makes what a build on the machine makes, with mounts, users and stages",
      TIMEOUT,
      async () => {
        await dockerfile(EVERYTHING);
        await using box = await container();
        expectCode(await inside(box, "in-place"), 0);
        expectCode(await outside("on-host", ["--driver=plain"]), 0);
        expect(await content("in-place")).toEqual(await content("on-host"));
      },
    );

    test("lets stages that share their steps take turns", TIMEOUT, async () => {
      const same =
        "RUN echo same > /same\nRUN echo more > /more\nCOPY Dockerfile /c\nRUN test -e /more";
      await dockerfile(
        `FROM base AS a\n${same}\nRUN echo a > /a\nFROM base AS b\n${same}\nRUN echo b > /b\n` +
          "FROM base AS c\nCOPY --from=b /b /\nRUN cp /b /d\nFROM base\nRUN true\n" +
          "COPY --from=a /a /\nCOPY --from=c /d /\nRUN test -e /a && test -e /d && test ! -e /same\n",
      );
      await using box = await container();
      expectCode(await inside(box, "turns"), 0);
      expect(Object.keys(await content("turns")).toSorted()).toEqual(["a", "d"]);
    });

    test("leaves nothing of one build to the next, and deletes no mount", TIMEOUT, async () => {
      await using box = await container();
      await dockerfile("FROM base\nRUN echo first > /first && rm -r /home\n");
      expectCode(await inside(box, "first"), 0);
      expect(existsSync(join(box.written, "first"))).toBe(true);
      await dockerfile("FROM base\nRUN test ! -e /first && test -d /home && ls /kaniko/bin/node\n");
      expectCode(await inside(box, "second", ["--driver=in-place", "--cleanup"]), 0);
      expect(existsSync(join(box.written, "bin"))).toBe(false);
      // Still a builder: its own files are there.
      expectCode(await inside(box, "third"), 0);
      expect(await readFile(join(dir.path, "token"), "utf8")).toBe("s3cret\n");
    });

    test("ends when a step has changed the builder's files", TIMEOUT, async () => {
      await using box = await container();
      await dockerfile("FROM base\nRUN echo >> /kaniko/app/package.json\nRUN touch /not-reached\n");
      const outcome = await inside(box, "tampered");
      expectCode(outcome, 1);
      expect(outcome.stderr).toContain("it changed /kaniko/app/package.json");
      expect(existsSync(join(box.written, "not-reached"))).toBe(false);
      expect(existsSync(join(dir.path, "tampered/index.json"))).toBe(false);
    });

    test(
      "shows steps neither its memory nor its environment, nor secrets of others",
      TIMEOUT,
      async () => {
        await using box = await container();
        await dockerfile(LOOK);
        expectCode(await inside(box, "hidden"), 0);
      },
    );

    test.each(["INT", "KILL"])(
      "takes a step away when SIG%s ends the build",
      TIMEOUT,
      async (name) => {
        await using box = await container();
        await dockerfile(STOPPED);
        const build = [...IN_PLACE_COMMAND, ...flags("/work-dir", `stopped-${name}`)].join(" ");
        const script = `b=${BUSYBOX}
${build} --driver=in-place --store=/kaniko/store >/dev/null 2>&1 &
front=$!
until $b ps | $b grep -q "sleep 888$"; do $b sleep 0.2; done
kill -${name} $front; wait $front
for i in 1 2 3 4 5 6 7 8 9 10; do $b ps | $b grep -q "sleep [89]" || break; $b sleep 0.5; done
$b ps | $b grep -v grep | $b grep sleep
cat /etc/token; $b ls /var/c`;
        const outcome = await shell(box, script);
        expect(outcome.stdout).toBe("own\nown\n");
      },
    );

    test("begins again with a clean / when a cache's layer cannot be read", TIMEOUT, async () => {
      await using box = await container();
      const cache = ["--driver=in-place", "--cache", "--cache-repo=oci:/work-dir/cache"];
      const text = "FROM base\nRUN echo one > /one && rm -r /home\n";
      await dockerfile(text);
      expectCode(await inside(box, "cached", cache), 0);
      await rm(join(box.written, "kaniko/store"), { recursive: true });
      for (const path of await layersIn(join(dir.path, "cache/blobs/sha256"))) await rm(path);
      await dockerfile(`${text}RUN test -d /usr && test ! -e /home && cp /one /two\n`);
      const outcome = await inside(box, "anew", cache);
      expectCode(outcome, 0);
      expect(outcome.stderr).toMatch(/of the cache \/work-dir\/cache cannot be read/);
      expect(Object.keys(await content("anew")).toSorted()).toEqual([".wh.home", "one", "two"]);
    });

    test(
      "begins again when steps have changed / and the store's layers turn out to be damaged",
      TIMEOUT,
      async () => {
        await using box = await container();
        const damage = async (): Promise<void> => {
          for (const path of await layersIn(join(box.written, "kaniko/store/blobs/sha256"))) {
            const bytes = await readFile(path);
            await writeFile(path, bytes.fill(7, bytes.length >> 1));
          }
        };
        const one = "FROM scratch AS one\nCOPY sub/only /a\n";
        const noise =
          "RUN mkdir /n && for i in 1 2 3; do head -c 99999 /dev/urandom > /n/$i; done\n";
        await dockerfile(`${one}FROM base AS noise\n${noise}`);
        for (const target of ["one", "noise"]) {
          const flags = ["--driver=in-place", `--target=${target}`];
          expectCode(await inside(box, `damaged-${target}`, flags), 0);
        }
        await damage();
        // The base's and one other are found out while they are unpacked, the third when commands have run before.
        await dockerfile(
          `${one}FROM base AS noise\n${noise}RUN rm /n/1 && ls /n > /names\n` +
            "FROM base\nRUN echo before >> /before && test -d /home && test ! -e /n\n" +
            "RUN --mount=from=one,target=/one cp /one/a /b && test ! -e /n && rm -r /home\n" +
            'RUN test "$(cat /before)" = before && test ! -e /one\nCOPY --from=noise /names /names\n',
        );
        const outcome = await inside(box, "mended");
        expectCode(outcome, 0);
        expect(outcome.stderr.match(/of the store cannot be read/g)).toHaveLength(3);
        const found = await content("mended");
        expect(Object.keys(found).toSorted()).toEqual([".wh.home", "b", "before", "names"]);
      },
    );

    test("asks before it deletes a system, and puts it back where asked", TIMEOUT, async () => {
      await using box = await container();
      const own = [
        `${BUSYBOX} mkdir -p /bin /srv/own`,
        `${BUSYBOX} touch /bin/sh /srv/own/a`,
        `${BUSYBOX} ln -s a /srv/own/b`,
        `${BUSYBOX} chown 3:4 /srv/own/a`,
        `${BUSYBOX} chmod 711 /srv`,
      ];
      expectCode(await shell(box, own.join(" && ")), 0);
      await dockerfile("FROM base\nRUN test ! -e /srv/own/a\n");
      const refused = await inside(box, "refused");
      expectCode(refused, 69);
      expect(refused.stderr).toContain("holds a system of its own");
      expect(existsSync(join(box.written, "srv/own/a"))).toBe(true);
      const asked = ["--driver=in-place", "--pre-cleanup", "--cleanup", "--preserve-context"];
      expectCode(await inside(box, "allowed", asked), 0);
      const look = [
        `${BUSYBOX} stat -c '%n %u:%g %a' /srv /srv/own/a`,
        `${BUSYBOX} readlink /srv/own/b`,
        `${BUSYBOX} ls -d /home /usr /bin/busybox`,
      ];
      const found = await shell(box, look.join("; "));
      expect(found.stdout).toBe("/srv 0:0 711\n/srv/own/a 3:4 644\na\n");
    });

    test("puts all that is new into one layer", TIMEOUT, async () => {
      await using box = await container();
      await dockerfile(
        "FROM base\nRUN echo a > /a && mkdir /dir && echo b > /dir/b && rm -r /home\n" +
          "COPY Dockerfile /dir/c\nRUN rm /dir/b && echo more >> /a\nLABEL x=y\n",
      );
      const single = "--single-snapshot";
      expectCode(await inside(box, "single-in-place", ["--driver=in-place", single]), 0);
      expectCode(await outside("single-on-host", [single]), 0);
      const { layers } = await readLayout(join(dir.path, "single-in-place"));
      expect(layers).toHaveLength(2);
      const one = await content("single-in-place");
      expect(one).toEqual(await content("single-on-host"));
      expect(Object.keys(one).toSorted()).toEqual([".wh.home", "a", "dir", "dir/c"]);
    });

    test("leaves the image's files in / when asked to", TIMEOUT, async () => {
      await using box = await container();
      await dockerfile("FROM base\nCOPY Dockerfile /from-here\n");
      expectCode(await inside(box, "materialized", ["--materialize"]), 0);
      expect(await readFile(join(box.written, "from-here"), "utf8")).toContain("FROM base");
    });

    test("leaves alone what it is told to, and keeps it out of layers", TIMEOUT, async () => {
      await using box = await container();
      expectCode(await shell(box, `${BUSYBOX} mkdir -p /own/x /tmp/key-1`), 0);
      await dockerfile(
        "FROM base\nRUN echo own > /own/x/y && echo key > /tmp/key-1/z && echo new > /tmp/new\n",
      );
      const ignoring = ["--driver=in-place", "--ignore-path=/own", "--ignore-path=/tmp/key-*"];
      expectCode(await inside(box, "ignored", ignoring), 0);
      const files = Object.entries(await content("ignored")).filter(([, text]) =>
        text.startsWith("file"),
      );
      expect(files.map(([path]) => path)).toEqual(["tmp/new"]);
      expect(existsSync(join(box.written, "own/x/y"))).toBe(true);
    });
  },
);

/** The gzip blobs in a directory. */
async function layersIn(directory: string): Promise<readonly string[]> {
  const found: string[] = [];
  for (const name of await readdir(directory)) {
    const path = join(directory, name);
    const [first, second] = await readFile(path);
    if (first === 0x1f && second === 0x8b) found.push(path);
  }
  return found;
}

/** Mounts of a step whose sources the worker makes: images, caches, sockets. */
import { existsSync } from "node:fs";
import { createServer, type Server } from "node:net";
import { mkdir, readdir, readFile, readlink, rm, symlink } from "node:fs/promises";
import { join } from "node:path";
import { afterAll, afterEach, beforeAll, beforeEach, expect, test } from "vitest";
import type { StepMount } from "../../src/worker/sandbox/types.js";
import type { DriverName, LayerBlob, MadeMount } from "../../src/worker/types.js";
import { describeUnless } from "../support/tools-suite.js";
import { eventually, lacksRoot, tempDir, type TempDir } from "../support/tools.js";
import { writeTar, type TarInput } from "../support/tools-tar.js";
import { namesOf, openLab, writeBlob, type Lab, type Stage } from "./sandbox-stage.js";

type Options<Kind> = Partial<Extract<MadeMount, { kind: Kind }>> & { readonly target: string };

const KEY = "a".repeat(64);

function image(layers: readonly LayerBlob[], options: Options<"image">): MadeMount {
  return { kind: "image", layers, source: "/", readonly: true, ...options };
}

function cache(options: Options<"cache">): MadeMount {
  const owner = { uid: 0, gid: 0, mode: 0o755 };
  const rest = { key: KEY, source: "/", readonly: false, sharing: "shared" } as const;
  return { kind: "cache", ...rest, ...owner, ...options };
}

const FILES: readonly TarInput[] = [
  { name: "bin", type: "dir" },
  { name: "bin/tool", data: "tool\n", mode: 0o755, uid: 1000, gid: 1001 },
  { name: "docs", type: "dir", mode: 0o750, uid: 7, gid: 8 },
  { name: "docs/page", data: "page\n" },
  { name: "current", type: "symlink", linkname: "/docs" },
  { name: "out", type: "symlink", linkname: "../../../../../../../../etc" },
];

describeUnless([lacksRoot()], "mounts that the worker makes", () => {
  describeDriver("overlay");
  describeDriver("plain");
});

function describeDriver(driver: DriverName): void {
  describeUnless([], `with the driver ${driver}`, () => {
    let caches: TempDir;
    let lab: Lab;
    let layers: readonly LayerBlob[];
    let stage: Stage;
    beforeAll(async () => {
      caches = await tempDir("tsbuild-caches-");
      lab = await openLab(driver, caches.path);
      layers = [await writeBlob(lab.dir, writeTar(FILES))];
    });
    afterAll(async () => {
      await lab?.[Symbol.asyncDispose]();
      await caches?.[Symbol.asyncDispose]();
    });
    beforeEach(async () => {
      stage = await lab.stage([{ name: "srv/link", type: "symlink", linkname: "/data/real" }]);
    });
    afterEach(async () => {
      await stage.view[Symbol.asyncDispose]();
      for (const name of await readdir(caches.path)) {
        await rm(join(caches.path, name), { recursive: true });
      }
      const left = await readdir(join(lab.dir, "staging"));
      expect(left.filter((name) => !/\.(index|blob|mounted)$|^scratch$/.test(name))).toEqual([]);
    });
    const nothingIsLeft = async (): Promise<void> => {
      expect(namesOf(await stage.seal())).toEqual([]);
      await eventually("the end of every mount", async () =>
        (await isMounted(lab.dir)) ? undefined : true,
      );
    };

    test("an image is seen as it is and cannot be written to", async () => {
      const mounts = [image(layers, { target: "/opt/deep/image" })];
      const script = `cd /opt/deep/image; ls; cat docs/page; stat -c '%a %u %g' docs bin/tool
        touch new || echo refused; echo x >> docs/page || echo refused`;
      expect(await stage.sh(script, { mounts })).toBe(
        "bin\ncurrent\ndocs\nout\npage\n750 7 8\n755 1000 1001\nrefused\nrefused\n",
      );
      await nothingIsLeft();
    });

    test("what is written to an image is thrown away, and no other mount of it sees it", async () => {
      const mounts = [
        image(layers, { target: "/one", readonly: false }),
        image(layers, { target: "/two", readonly: false }),
        image(layers, { target: "/page", source: "docs/page", readonly: false }),
      ];
      const script = `rm -r /one/docs; echo new > /one/bin/tool; touch /one/more
        echo more >> /page; cat /one/bin/tool /two/bin/tool /two/docs/page /page; ls /two`;
      expect(await stage.sh(script, { mounts })).toBe(
        "new\ntool\npage\npage\nmore\nbin\ncurrent\ndocs\nout\n",
      );
      const again = await stage.sh("cat /one/bin/tool /one/docs/page; ls /one", { mounts });
      expect(again).toBe("tool\npage\nbin\ncurrent\ndocs\nout\n");
      await nothingIsLeft();
    });

    test("a source is a file or a directory of the image, and links stay inside of it", async () => {
      const mounts = [
        image(layers, { target: "/tool", source: "/bin/tool" }),
        image(layers, { target: "/pages", source: "current" }),
      ];
      expect(await stage.sh("/bin/cat /tool /pages/page; ls /pages", { mounts })).toBe(
        "tool\npage\npage\n",
      );
      for (const source of ["/missing", "docs/page/below", "out", "out/passwd", "../etc"]) {
        const failing = stage.run("true", { mounts: [image(layers, { target: "/x", source })] });
        await expect(failing).rejects.toMatchObject({
          code: "CONTEXT_UNREADABLE",
          message: expect.stringContaining(`"/${source.replace(/^\//, "")}": not found`),
        });
      }
      await nothingIsLeft();
    });

    test("no layers at all are an empty directory", async () => {
      const mounts = [image([], { target: "/none" }), image([], { target: "/w", readonly: false })];
      const script = "ls -A /none /w; touch /none/x || echo refused; echo y > /w/y; cat /w/y";
      const out = await stage.sh(script, { mounts });
      expect(out).toBe("/none:\n\n/w:\nrefused\ny\n");
      await nothingIsLeft();
    });

    test("mounts lie in each other, in any order, and where links lead", async () => {
      const mounts = [
        image(layers, { target: "/x/docs/page/../inner", source: "bin" }),
        image(layers, { target: "/x/y/z", source: "docs/page" }),
        image(layers, { target: "/x" }),
        image(layers, { target: "/x/bin", source: "docs" }),
        image(layers, { target: "/srv/link", source: "docs" }),
        { kind: "tmpfs", target: "/x/docs/t" },
        image(layers, { target: "/x/docs/t/tool", source: "bin/tool" }),
        cache({ target: "/c" }),
        image(layers, { target: "/c/below/bin", source: "bin" }),
      ] as const;
      const script = `cat /x/y/z /x/bin/page /data/real/page /x/docs/t/tool /c/below/bin/tool
        cat /x/docs/inner/tool; touch /x/y/no || echo refused`;
      expect(await stage.sh(script, { mounts })).toBe(
        "page\npage\npage\ntool\ntool\ntool\nrefused\n",
      );
      await nothingIsLeft();
    });

    test("a mount point that a read-only directory of the host lacks is refused by name", async () => {
      const source = join(lab.dir, "host");
      await mkdir(source, { recursive: true });
      const mounts = [
        { kind: "bind", source, target: "/host", readonly: true } as const,
        image(layers, { target: "/host/missing" }),
      ];
      await expect(stage.run("true", { mounts })).rejects.toThrow(
        "tried to mount /host/missing inside the mount /host, which has no such directory",
      );
      expect(await readdir(source)).toEqual([]);
      await nothingIsLeft();
    });

    test("a cache lasts from step to step and from worker to worker", async () => {
      const owner = { uid: 1000, gid: 1001, mode: 0o2770 };
      const mounts = [cache({ target: "/var/cache/x", ...owner })];
      const script = `stat -c '%a %u %g' /var/cache/x; echo kept > /var/cache/x/file`;
      expect(await stage.sh(script, { mounts })).toBe("2770 1000 1001\n");
      const read = { mounts: [cache({ target: "/c", readonly: true })] };
      const look = "cat /c/file; stat -c '%a %u' /c; touch /c/no || echo refused";
      expect(await stage.sh(look, read)).toBe("kept\n2770 1000\nrefused\n");
      await nothingIsLeft();
      await using other = await openLab(driver, caches.path);
      const there = await other.stage();
      expect(await there.sh(look, read)).toBe("kept\n2770 1000\nrefused\n");
      const key = "b".repeat(64);
      expect(await there.sh("ls -A /c", { mounts: [cache({ target: "/c", key })] })).toBe("");
    });

    test("a part of a cache is one of that cache, wherever links in it lead", async () => {
      const mounts = [cache({ target: "/c" })];
      await stage.sh(
        `mkdir /c/part; echo inside > /c/part/file; ln -s /part /c/link
        ln -s ../../../../../../../../../etc /c/out; ln -s /etc /c/abs; ln -s loop /c/loop`,
        { mounts },
      );
      const part = (source: string) => ({ mounts: [cache({ target: "/p", source })] });
      expect(await stage.sh("cat /p/file; ls /p", part("link"))).toBe("inside\nfile\n");
      expect(await stage.sh("cat /p", part("/part/file"))).toBe("inside\n");
      for (const source of ["out", "abs", "out/passwd", "../x", "missing"]) {
        await expect(stage.run("ls /p", part(source))).rejects.toMatchObject({
          code: "CONTEXT_UNREADABLE",
        });
      }
      await expect(stage.run("ls /p", part("loop"))).rejects.toThrow("too many levels");
      await nothingIsLeft();
    });

    test("a new cache holds what it is seeded with, once", async () => {
      const owner = { uid: 5, gid: 6, mode: 0o711 };
      const seeded = (source: string) => ({
        mounts: [cache({ target: "/c", ...owner, seed: { layers, source } })],
      });
      await expect(stage.run("true", seeded("bin/tool"))).rejects.toThrow("not a directory");
      await expect(stage.run("true", seeded("missing"))).rejects.toMatchObject({
        code: "CONTEXT_UNREADABLE",
      });
      const script = `stat -c '%a %u %g' /c /c/tool; rm /c/tool; touch /c/own`;
      expect(await stage.sh(script, seeded("/bin"))).toBe("711 5 6\n755 1000 1001\n");
      expect(await stage.sh("ls /c", seeded("/bin"))).toBe("own\n");
      const key = "c".repeat(64);
      const whole = [cache({ target: "/c", key, seed: { layers, source: "/" } })];
      expect(await stage.sh("ls /c", { mounts: whole })).toBe("bin\ncurrent\ndocs\nout\n");
      await nothingIsLeft();
    });

    test("one step at a time has a locked cache, others wait and can be stopped", async () => {
      await using other = await openLab(driver, caches.path);
      const there = await other.stage();
      const locked = (target: string) => cache({ target, sharing: "locked" });
      const holding = stage.sh(
        "echo a > /c/a; until rm /c/go; do sleep 0.1; done 2>/dev/null; rm /c/a; ls -A /d",
        {
          mounts: [locked("/c"), locked("/d")],
        },
      );
      await heldCache(caches.path);
      const stop = new AbortController();
      const stopped = there.run("true", { mounts: [locked("/c")], signal: stop.signal });
      setTimeout(() => stop.abort(), 300);
      await expect(stopped).rejects.toMatchObject({ code: "ABORTED" });
      // Those who share do not wait; the file tells that the holder still runs.
      const shared = { mounts: [cache({ target: "/c" })] };
      await eventually("the holder to have begun", async () =>
        (await there.sh("ls /c", shared)) === "a\n" ? true : undefined,
      );
      expect(await there.sh("ls /c; touch /c/go", shared)).toBe("a\n");
      expect(await there.sh("ls -A /c", { mounts: [locked("/c")] })).toBe("");
      expect(await holding).toBe("");
    });

    test("two locked caches in two orders do not wait for each other for ever", async () => {
      const pair = ["d", "e"].map((letter, index) =>
        cache({ target: `/${index}`, key: letter.repeat(64), sharing: "locked" }),
      );
      const second = await lab.stage();
      for (let round = 0; round < 3; round++) {
        const steps = [
          stage.sh("sleep 0.1", { mounts: pair }),
          second.sh("sleep 0.1", { mounts: pair.toReversed() }),
        ];
        expect(await Promise.all(steps)).toEqual(["", ""]);
      }
      await second.view[Symbol.asyncDispose]();
    });

    test("a private cache in use is left alone, and comes back when it is free", async () => {
      const second = await lab.stage();
      const mounts = [cache({ target: "/c", sharing: "private" })];
      const first = stage.sh("echo first > /c/file; sleep 2", { mounts });
      await heldCache(caches.path);
      expect(await second.sh("ls -A /c; echo second > /c/file", { mounts })).toBe("");
      await first;
      expect(await stage.sh("cat /c/file", { mounts })).toBe("first\n");
      await second.view[Symbol.asyncDispose]();
    });

    test("a step that is stopped leaves nothing, and its cache to others", async () => {
      const stop = new AbortController();
      const mounts = [
        image(layers, { target: "/i", readonly: false }),
        cache({ target: "/c", sharing: "locked" }),
      ];
      const options = { mounts, signal: stop.signal };
      const stopped = stage.run("touch /c/begun /i/x; sleep 30", options);
      const rejected = expect(stopped).rejects.toMatchObject({ code: "ABORTED" });
      await heldCache(caches.path);
      stop.abort();
      await rejected;
      const left = await readdir(join(lab.dir, "staging"));
      expect(left.filter((name) => name.startsWith("mount-"))).toEqual([]);
      expect(await stage.sh("ls /c; ls /i", { mounts })).toBe("begun\nbin\ncurrent\ndocs\nout\n");
      await nothingIsLeft();
    });

    test("a cache that nobody was told where to keep is an error", async () => {
      await using bare = await openLab(driver);
      const there = await bare.stage();
      await expect(there.run("true", { mounts: [cache({ target: "/c" })] })).rejects.toThrow(
        "tried to mount /c: no store keeps caches",
      );
    });

    test("a socket hands on what it is told, both ways, to the step's user", async (context) => {
      const host = await hostsNode();
      if (host === undefined) return context.skip("this host's programs are not below /usr alone");
      await using agent = await openAgent(lab.dir);
      await stage.view[Symbol.asyncDispose]();
      stage = await lab.stage(host.layer);
      const target = "/run/buildkit/ssh_agent.0";
      const user = { uid: 1000, gid: 1001, groups: [] };
      const socket = { kind: "socket", path: agent.path, target, mode: 0o600, ...user } as const;
      const say = `/node -e '
        const c = require("net").connect("${target}", () => c.write("hello".repeat(100000)));
        let n = 0;
        c.on("data", (b) => { n += b.length; if (n === 500000) c.end(); });
        c.on("end", () => console.log("ended", n)); c.on("error", (e) => console.log(e.code))'`;
      const script = `stat -c '%F %a %u %g' ${target}; ${say} & ${say} & wait; wait`;
      const mounts = [...host.mounts, socket];
      expect(await stage.sh(script, { mounts, ...user })).toBe(
        "socket 600 1000 1001\nended 500000\nended 500000\n",
      );
      expect(await stage.sh(say, { mounts, uid: 1002, gid: 1001, groups: [] })).toBe("EACCES\n");
      await agent[Symbol.asyncDispose]();
      await expect(stage.run("true", { mounts })).rejects.toMatchObject({ code: "USAGE" });
      expect(namesOf(await stage.seal())).toEqual([]);
    });
  });
}

/** Whether any process of the machine sees a mount of or on something in `directory`, besides layers: those last as long as the worker. */
async function isMounted(directory: string): Promise<boolean> {
  const processes = (await readdir("/proc")).filter((name) => /^\d+$/.test(name));
  const read = (pid: string) => readFile(`/proc/${pid}/mountinfo`, "utf8").catch(() => "");
  return (await Promise.all(processes.map(read))).some((text) =>
    text.split("\n").some((line) => line.includes(directory) && !line.includes(" - erofs ")),
  );
}

/** Waits until a step has taken a cache. */
async function heldCache(caches: string): Promise<void> {
  await eventually("a step that has taken the cache", async () => {
    const names = await readdir(join(caches, KEY, "0")).catch(() => []);
    return names.length > 0 ? names : undefined;
  });
}

/** What a step needs to run this very Node: nothing in the small system speaks to Unix sockets. */
async function hostsNode() {
  const layer: TarInput[] = [{ name: "node", data: "" }];
  for (const name of ["lib", "lib64"]) {
    const linkname = await readlink(`/${name}`).catch(() => undefined);
    if (linkname === undefined && existsSync(`/${name}`)) return undefined;
    if (linkname !== undefined) layer.push({ name, type: "symlink", linkname });
  }
  const mounts: readonly StepMount[] = [
    { kind: "bind", source: "/usr", target: "/usr", readonly: true },
    { kind: "bind", source: process.execPath, target: "/node", readonly: true },
  ];
  return { layer, mounts };
}

interface Agent extends AsyncDisposable {
  readonly path: string;
}

/** Says everything again in capitals, from a place with a path that is too long for a socket's address. */
async function openAgent(dir: string): Promise<Agent> {
  const deep = join(dir, "d".repeat(100));
  await mkdir(deep, { recursive: true });
  const path = join(deep, "agent.sock");
  const server: Server = createServer({ allowHalfOpen: true }, (socket) => {
    socket.on("data", (chunk) => socket.write(chunk.toString().toUpperCase()));
    socket.on("end", () => socket.end());
  });
  await symlink(deep, join(dir, "short"));
  await new Promise<void>((resolve) => {
    server.listen(join(dir, "short", "agent.sock"), () => resolve());
  });
  return {
    path,
    [Symbol.asyncDispose]: () => new Promise((resolve) => server.close(() => resolve())),
  };
}

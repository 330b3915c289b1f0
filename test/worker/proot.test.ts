import { existsSync } from "node:fs";
import { mkdir, readdir, readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { afterAll, beforeAll, expect, test } from "vitest";
import { describeUnless } from "../support/tools-suite.js";
import { eventually, lacksTools, tempDir } from "../support/tools.js";
import { writeTar } from "../support/tools-tar.js";
import { type Lab, openLab, writeBlob } from "./sandbox-stage.js";

const SETCAP_NET_RAW = Buffer.from("0100000200200000000000000000000000000000", "hex");

/** What a layer has on disk nowhere: owners, a mode that shuts its owner out, a file capability. */
const LAYER = [
  { name: "srv", type: "dir", uid: 33, gid: 34, mode: 0o555 },
  { name: "srv/owned", type: "file", uid: 1234, gid: 5678, mode: 0o600, data: "owned\n" },
  { name: "srv/secret", type: "file", uid: 0, gid: 42, mode: 0, data: "secret\n" },
  {
    name: "srv/ping",
    type: "file",
    mode: 0o4755,
    data: "ping",
    xattrs: new Map([["security.capability", SETCAP_NET_RAW]]),
  },
] as const;

describeUnless([lacksTools("proot", "busybox")], "the proot driver", () => {
  let lab: Lab;
  let closing: AsyncDisposable;
  beforeAll(async () => {
    const caches = await tempDir("tsbuild-caches-");
    lab = await openLab("proot", caches.path);
    closing = caches;
  });
  afterAll(async () => {
    await lab?.[Symbol.asyncDispose]();
    await closing?.[Symbol.asyncDispose]();
  });

  test("runs a step as root of its own root, with nothing but what was asked for", async () => {
    const stage = await lab.stage();
    const env = { PATH: "/bin", NAME: "value" };
    const { stdout } = await stage.run(["/bin/busybox", "env"], { env });
    expect(stdout).toBe("PATH=/bin\nNAME=value\n");
    const script = "id -u; pwd; umask; ulimit -n; cat /etc/resolv.conf; wc -c </dev/stdin; ls /";
    const said = (await stage.sh(script, { cwd: "/home" })).split("\n");
    expect(said.slice(0, 6)).toEqual(["0", "/home", "0022", "20000", "nameserver 192.0.2.53", "0"]);
    expect(said).not.toContain("work");
    expect(await stage.seal()).toEqual([]);
  });

  test("takes the user and the ulimits of the step", async () => {
    const stage = await lab.stage();
    const limits = [{ name: "nofile", soft: 100, hard: 200 } as const];
    const said = await stage.sh("id -u; id -g; id -G; ulimit -n; ulimit -Hn; echo x >/tmp/mine", {
      uid: 1234,
      gid: 56,
      groups: [56, 78],
      limits,
    });
    expect(said).toBe("1234\n56\n56 78\n100\n200\n");
    const [, mine] = await stage.seal();
    expect(mine).toMatchObject({ name: "tmp/mine", uid: 1234, gid: 56 });
  });

  test("says with 127 and 126 why a command did not start, and its exit code otherwise", async () => {
    const stage = await lab.stage([
      { name: "no-program", type: "file", mode: 0o644, data: "" },
      { name: "bad", type: "file", mode: 0o755, data: "#!/nowhere\n" },
    ]);
    await expect(stage.run(["missing"])).rejects.toMatchObject({ exitCode: 127 });
    await expect(stage.run(["missing"])).rejects.toThrow('"missing": executable file not found');
    await expect(stage.run(["/missing"])).rejects.toMatchObject({ exitCode: 127 });
    await expect(stage.run(["/no-program"])).rejects.toMatchObject({ exitCode: 126 });
    await expect(stage.run(["/bad"])).rejects.toMatchObject({ exitCode: 127, code: "RUN_FAILED" });
    expect((await stage.run("exit 7")).status).toEqual({ kind: "exited", code: 7 });
  });

  test("keeps owners, modes and capabilities of what a step does not change, and of what it changes", async () => {
    const stage = await lab.stage([...LAYER]);
    await stage.sh("echo more >>/srv/owned; cat /srv/secret >/copy; rm /srv/secret; touch /srv");
    const entries = new Map((await stage.seal()).map((entry) => [entry.name, entry]));
    expect(entries.get("srv/owned")).toMatchObject({ uid: 1234, gid: 5678, mode: 0o600 });
    expect(entries.get("srv/owned")?.data.toString()).toBe("owned\nmore\n");
    expect(entries.get("srv/")).toMatchObject({ uid: 33, gid: 34, mode: 0o555 });
    expect(entries.get("copy")?.data.toString()).toBe("secret\n");
    expect([...entries.keys()].toSorted()).toEqual(["copy", "srv/", "srv/.wh.secret", "srv/owned"]);
    await stage.sh("chmod 755 /srv/ping; cp /srv/owned /o; mv /o /srv/owned");
    const later = new Map((await stage.seal()).map((entry) => [entry.name, entry]));
    const capability = later.get("srv/ping")?.xattrs.get("security.capability");
    expect(capability).toEqual(SETCAP_NET_RAW);
    // Another file in its place: whoever replaces one gives it the old one's owner.
    expect(later.get("srv/owned")).toMatchObject({ uid: 1234, gid: 5678 });
  });

  test("keeps modes that shut their owner out", async () => {
    const stage = await lab.stage();
    await stage.sh("mkdir -p /a/b; echo x >/a/b/c; chmod 0 /a/b/c /a/b; chmod 111 /a");
    const first = new Map((await stage.seal()).map(({ name, mode }) => [name, mode]));
    expect(first).toEqual(new Map([["a/", 0o111], ["a/b/", 0], ["a/b/c", 0]])); // prettier-ignore
    await stage.sh("echo y >/d");
    expect((await stage.seal()).map(({ name }) => name)).toEqual(["d"]);
  });

  test("keeps what a step gives away, and shows it to the step", async () => {
    const stage = await lab.stage([...LAYER]);
    const script = [
      "echo x >/f; chown 5:6 /f; chgrp 33 /f; stat -c '%u:%g' /f",
      "cd /tmp; echo b >b; ln -s b c; chown 7:8 c; chown -h 9:10 c; stat -c '%u:%g' b c",
      "mkdir d; chown 1000:1000 d; chmod 4755 /f; chown 11 /f; stat -c '%a' /f",
      "chown 0:0 /srv; stat -c '%u:%g %a' /srv /srv/owned; cp -a /srv/owned /kept",
    ];
    const said = await stage.sh(script.join(" && "));
    const lines = ["5:33", "7:8", "9:10", "755", "0:0 555", "1234:5678 600"];
    expect(said.trimEnd().split("\n")).toEqual(lines);
    const owners = new Map((await stage.seal()).map((one) => [one.name, `${one.uid}:${one.gid}`]));
    expect(Object.fromEntries(owners)).toEqual({
      f: "11:33",
      kept: "1234:5678",
      "srv/": "0:0",
      "tmp/": "0:0",
      "tmp/b": "7:8",
      "tmp/c": "9:10",
      "tmp/d/": "1000:1000",
    });
  });

  test("follows no symlink out of its root when it unpacks", async () => {
    const outside = join(lab.dir, "outside");
    await mkdir(outside);
    const link = { name: "out", type: "symlink", linkname: outside } as const;
    const stage = await lab.stage([link], [{ name: "out/file", type: "file", data: "in\n" }]);
    expect(await stage.sh("cat /out/file; test -d /out && ! test -L /out")).toBe("in\n");
    expect(await readdir(outside)).toEqual([]);
  });

  test("mounts what is asked for and leaves no trace of it", async () => {
    const stage = await lab.stage();
    const source = join(lab.dir, "so:urce");
    await mkdir(join(source, "inner"), { recursive: true });
    await writeFile(join(source, "file"), "bound\n");
    const secret = { mode: 0o400, uid: 0, gid: 0, content: Buffer.from("s3cret") };
    const mounts = [
      { kind: "bind", source, target: "/made/for/it", readonly: false },
      { kind: "tmpfs", target: "/made/for/it/inner" },
      { kind: "file", target: "/run/secrets/token", ...secret },
    ] as const;
    const script =
      "cat /made/for/it/file /run/secrets/token; echo x >/made/for/it/inner/x; echo y >/made/for/it/y; ls -l /dev/null";
    const said = await stage.sh(script, { mounts: [...mounts] });
    expect(said).toMatch(/^bound\ns3cretcrw/);
    expect(await readFile(join(source, "y"), "utf8")).toBe("y\n");
    expect(existsSync(join(source, "inner/x"))).toBe(false);
    expect(await stage.seal()).toEqual([]);
  });

  test("shows the owners that mounts are meant to have, and those of other stages' files", async () => {
    const stage = await lab.stage();
    const layer = await writeBlob(lab.dir, writeTar([...LAYER]));
    const [readonly, source] = [false, ""];
    const owner = { uid: 100, gid: 102 };
    const key = "0123456789abcdef".repeat(4);
    const mounts = [
      { kind: "file", target: "/secret", content: Buffer.from("x"), mode: 0o41, ...owner },
      {
        kind: "cache",
        target: "/cache",
        key,
        source,
        readonly,
        mode: 0o751,
        sharing: "shared",
        ...owner,
      },
      { kind: "image", target: "/other", layers: [layer], source, readonly },
    ] as const;
    const script =
      "stat -c '%u:%g %a' /secret /cache /other/srv/owned; cat /secret; cp -a /other/srv/owned /mine";
    const said = await stage.sh(script, { mounts: [...mounts] });
    expect(said).toBe("100:102 41\n100:102 751\n1234:5678 600\nx");
    expect(await stage.seal()).toMatchObject([{ name: "mine", uid: 1234, gid: 5678 }]);
  });

  test("refuses a step without a network, which it cannot give", async () => {
    const stage = await lab.stage();
    const step = stage.run("true", { network: "none" });
    await expect(step).rejects.toMatchObject({ code: "HOST_UNSUPPORTED" });
  });

  test("ends what a step started in the background with it", async () => {
    const stage = await lab.stage();
    // Who waited for them would wait for an hour.
    const said = await stage.sh("(sleep 4321 & echo a); setsid sleep 4322 & echo b");
    expect(said.split("\n").toSorted().join("")).toBe("ab");
    expect(await sleepers()).toEqual([]);
  });

  test("stops a step with everything that it started", async () => {
    const stage = await lab.stage();
    const abort = new AbortController();
    const step = stage.run("sleep 4321 & sleep 4322", { signal: abort.signal });
    const settled = expect(step).rejects.toMatchObject({ code: "ABORTED" });
    await eventually("two processes", async () => (await sleepers()).length === 2 || undefined);
    const before = await loaders();
    abort.abort();
    await settled;
    expect(await sleepers()).toEqual([]);
    // Other tests have theirs at the same time.
    const left = new Set(await loaders());
    expect(before.filter((name) => left.has(name)).length).toBeLessThan(before.length);
  });

  /** Files of proots that run, or were killed. */
  async function loaders(): Promise<readonly string[]> {
    return (await readdir("/tmp")).filter((name) => name.startsWith("prooted-"));
  }

  async function sleepers(): Promise<readonly string[]> {
    const found: string[] = [];
    for (const pid of await readdir("/proc")) {
      if (!/^\d+$/.test(pid)) continue;
      const line = await readFile(`/proc/${pid}/cmdline`, "latin1").catch(() => "");
      if (/^sleep 432[12] /.test(line.replaceAll("\0", " "))) found.push(pid);
    }
    return found;
  }
});

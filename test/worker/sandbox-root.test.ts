/** What a step finds in its root, and that nothing of it stays there. */
import { mkdir, readFile, symlink, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { afterAll, beforeAll, expect, test } from "vitest";
import type { StepMount } from "../../src/worker/sandbox/types.js";
import { describeUnless } from "../support/tools-suite.js";
import { lacksRoot } from "../support/tools.js";
import { namesOf, openLab, type Lab } from "./sandbox-stage.js";

const secret = (target: string, content = "secret\n"): StepMount => ({
  kind: "file",
  target,
  content: Buffer.from(content),
  mode: 0o400,
  uid: 1000,
  gid: 1001,
});

describeUnless([lacksRoot()], "a step's root", () => {
  describeDriver("overlay");
  describeDriver("plain");
});

function describeDriver(driver: "overlay" | "plain"): void {
  describeUnless([], `with the driver ${driver}`, () => {
    let lab: Lab;
    beforeAll(async () => {
      lab = await openLab(driver);
    });
    afterAll(() => lab?.[Symbol.asyncDispose]());

    test("has the devices that programs count on", async () => {
      const stage = await lab.stage();
      const script = `
        echo lost > /dev/null; head -c 3 /dev/zero | od -An -tx1; head -c 16 /dev/urandom | wc -c
        head -c 16 /dev/random | wc -c; echo full > /dev/full || echo refused
        echo out > /dev/stdout; echo err > /dev/stderr; echo fd < /dev/fd/0
        touch /dev/shm/file && mv /dev/shm/file /dev/shm/other; ls -d /dev/mqueue /dev/pts /dev/tty
        readlink /dev/ptmx; ls -l /dev/pts/ptmx | cut -c 1-10; stat -c '%a %n' /dev /dev/shm`;
      const { stdout, stderr } = await stage.run(script);
      expect(
        stdout
          .trim()
          .split("\n")
          .map((line) => line.trim()),
      ).toEqual([
        "00 00 00",
        "16",
        "16",
        "refused",
        "out",
        "fd",
        "/dev/mqueue",
        "/dev/pts",
        "/dev/tty",
        "pts/ptmx",
        "crw-rw-rw-",
        "755 /dev",
        "1777 /dev/shm",
      ]);
      expect(stderr).toContain("err\n");
      expect(stderr).toContain("No space left on device");
      const user = { uid: 1000, gid: 1000, groups: [] };
      expect(await stage.sh("echo x > /dev/null; echo mine > /dev/stdout", user)).toBe("mine\n");
      expect(namesOf(await stage.seal())).toEqual([]);
    });

    test("has /proc and /sys that tell of the step and cannot change the machine", async () => {
      const stage = await lab.stage();
      expect(await stage.sh("cat /proc/1/comm; ls /sys/kernel | grep -xc mm")).toMatch(/^sh\n1\n$/);
      for (const path of [
        "/proc/sys/kernel/hostname",
        "/proc/sys/vm/drop_caches",
        "/sys/kernel/mm/x",
      ]) {
        const { stderr } = await stage.run(`echo 1 > ${path}`);
        expect(stderr).toMatch(/Read-only file system/);
      }
      expect(await stage.sh("cat /proc/keys /proc/timer_list; ls /sys/firmware")).toBe("");
    });

    test("has the hosts and resolv.conf of the step, whatever the image has there", async () => {
      const link = {
        name: "etc/resolv.conf",
        type: "symlink",
        linkname: "../run/x/resolv.conf",
      } as const;
      const stage = await lab.stage([link, { name: "etc/hosts", data: "of the image\n" }]);
      const given = { hosts: "192.0.2.1\tgiven\n", resolvConf: "nameserver 192.0.2.2\n" };
      expect(await stage.sh("cat /etc/hosts /etc/resolv.conf", given)).toBe(
        "192.0.2.1\tgiven\nnameserver 192.0.2.2\n",
      );
      expect((await stage.run("echo x > /etc/hosts")).stderr).toContain("Read-only file system");
      expect(namesOf(await stage.seal())).toEqual([]);
    });

    test("has the mounts that the step asks for, parents before children", async () => {
      const stage = await lab.stage([
        { name: "var/run", type: "symlink", linkname: "/run" },
        { name: "srv/private", type: "dir", mode: 0o700 },
      ]);
      const source = join(lab.dir, `source, with: odd\\name`);
      await mkdir(join(source, "below"), { recursive: true });
      await writeFile(join(source, "below", "file"), "from the host\n");
      await symlink("below/file", join(source, "link"));
      const mounts: readonly StepMount[] = [
        secret("/run/secrets/deep/name"),
        { kind: "tmpfs", target: "/var/run", sizeBytes: 4096 * 16 },
        { kind: "tmpfs", target: "/srv/private" },
        { kind: "bind", source, target: "/src/readonly", readonly: true },
        { kind: "bind", source, target: "src/relative/../writable", readonly: false },
        { kind: "bind", source: join(source, "link"), target: "/one-file", readonly: true },
      ];
      const script = `
        cat /var/run/secrets/deep/name /src/readonly/below/file /one-file
        stat -c '%a %u %g' /run/secrets/deep/name /srv/private
        head -c 100000 /dev/zero > /run/big || echo too big
        touch /src/readonly/no || echo read-only; touch /src/readonly/below/no || echo too
        echo kept > /src/writable/made`;
      const out = await stage.sh(script, { mounts });
      expect(out).toBe(
        "secret\nfrom the host\nfrom the host\n400 1000 1001\n700 0 0\ntoo big\nread-only\ntoo\n",
      );
      expect(await readFile(join(source, "made"), "utf8")).toBe("kept\n");
      expect(namesOf(await stage.seal())).toEqual([]);
      expect(await stage.sh("ls /src /one-file /run 2>&1 || true")).toMatch(/No such file/);
    });

    test("says which mount it cannot have", async () => {
      const stage = await lab.stage();
      const source = join(lab.dir, "absent");
      const bind = { kind: "bind", source, target: "/x", readonly: true } as const;
      await expect(stage.run("true", { mounts: [bind] })).rejects.toThrow(
        `tried to mount ${source}`,
      );
      const through = secret("/etc/passwd/below");
      await expect(stage.run("true", { mounts: [through] })).rejects.toThrow(
        "tried to mount /etc/passwd/below: /etc/passwd is not a directory",
      );
      expect(await stage.sh("echo still usable")).toBe("still usable\n");
      expect(namesOf(await stage.seal())).toEqual([]);
    });

    test("shows directories above a mount point as the image has them", async () => {
      const app = {
        name: "app",
        type: "dir",
        mode: 0o2711,
        uid: 5,
        gid: 6,
        mtime: 1_600_000_000,
      } as const;
      const xattrs = new Map([["user.note", Buffer.from("of the image")]]);
      const stage = await lab.stage([
        { ...app, xattrs },
        { name: "app/file", data: "x" },
      ]);
      const mounts = [secret("/app/made/for/it")];
      const before = "2711 5 6 1600000000\n";
      expect(await stage.sh("stat -c '%a %u %g %Y' /app", { mounts })).toBe(before);
      expect(namesOf(await stage.seal())).toEqual([]);
      await stage.sh("echo y > /app/new; touch -d @1600000001 /app", { mounts });
      const layer = await stage.seal();
      expect(namesOf(layer)).toEqual(["app", "app/new"]);
      const entry = layer.find(({ name }) => /(^|\/)app\/?$/.test(name));
      expect(entry).toMatchObject({ mode: 0o2711, uid: 5, gid: 6, mtime: 1_600_000_001 });
      expect(entry?.xattrs.get("user.note")?.toString()).toBe("of the image");
    });

    test("leaves nothing of its mounts where earlier steps removed or remade what lay there", async () => {
      const stage = await lab.stage([
        { name: "etc/hosts", data: "x" },
        { name: "run/old", data: "" },
      ]);
      await stage.sh("rm -rf /proc /sys /dev /tmp; true");
      await stage.seal();
      await stage.sh("mv /etc /etc.old; mkdir /etc; rm -rf /run; mkdir -p /run /work/new");
      await stage.seal();
      const mounts = [secret("/run/secrets/a"), secret("/work/new/b")];
      expect(await stage.sh("ls /etc /run /work/new", { mounts })).toBe(
        "/etc:\nhosts\nresolv.conf\n\n/run:\nsecrets\n\n/work/new:\nb\n",
      );
      expect(namesOf(await stage.seal())).toEqual([]);
      await stage.sh("mkdir /etc/kept; rm -rf /etc.old", { mounts });
      expect(namesOf(await stage.seal()).toSorted()).toEqual([".wh.etc.old", "etc", "etc/kept"]);
    });

    test("keeps what the step itself made beside or below its mount points", async () => {
      const stage = await lab.stage();
      const mounts = [secret("/opt/made/point")];
      await stage.sh("echo own > /opt/made/own; mkdir -p /run/own", { mounts });
      expect(namesOf(await stage.seal()).toSorted()).toEqual([
        "opt",
        "opt/made",
        "opt/made/own",
        "run",
        "run/own",
      ]);
    });

    test("leaves no mount point beside which a step made and deleted something", async () => {
      const stage = await lab.stage();
      const mounts = [
        secret("/opt/made/point"),
        { kind: "tmpfs", target: "/opt/dir/below" } as const,
        secret("/run/secrets/a"),
      ];
      const script = `for at in /opt /opt/made /opt/dir /run /run/secrets; do
          echo x > $at/file; mkdir $at/more; rm -r $at/file $at/more
        done; chmod 700 /opt/made; echo own > /own`;
      await stage.sh(script, { mounts });
      expect(namesOf(await stage.seal())).toEqual(["own"]);
      const { stderr } = await stage.run("ls -d /opt /run");
      expect(stderr).toContain("/opt: No such file");
      expect(stderr).toContain("/run: No such file");
    });

    test("cannot be led out of by symlinks", async () => {
      const outside = join(lab.dir, "outside");
      await mkdir(outside, { recursive: true });
      await writeFile(join(outside, "hosts"), "of the builder\n");
      const stage = await lab.stage([
        { name: "out", type: "symlink", linkname: outside },
        { name: "up", type: "symlink", linkname: `../../../../../..${outside}` },
        { name: "loop", type: "symlink", linkname: "loop" },
      ]);
      const mounts = [secret("/out/a"), secret("/up/b")];
      expect(await stage.sh(`ls ${outside}`, { mounts })).toBe("a\nb\n");
      await expect(stage.run("true", { mounts: [secret("/loop/c")] })).rejects.toThrow(
        "tried to mount /loop/c: too many levels of symbolic links",
      );
      // The parent of a mount point becomes a link while the step runs.
      const trap = { mounts: [secret("/trap/hosts")] };
      await stage.run(`mv /trap /moved && ln -s ${outside} /trap`, trap);
      expect(await readFile(join(outside, "hosts"), "utf8")).toBe("of the builder\n");
    });
  });
}

describeUnless([lacksRoot()], "a root of many layers", () => {
  test("is mounted from more layers than their paths fit into one page", async () => {
    await using lab = await openLab("overlay");
    const layers = Array.from({ length: 150 }, (_, i) => [{ name: `layer-${i}`, data: `${i}` }]);
    const stage = await lab.stage(...layers);
    expect(await stage.sh("ls -d /layer-* | wc -l; cat /layer-0 /layer-149")).toBe("150\n0149");
    await stage.sh("rm /layer-0");
    expect(namesOf(await stage.seal())).toEqual([".wh.layer-0"]);
  });
});

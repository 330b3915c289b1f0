/** What only root can do to a file, asked for by real programs below proot: file capabilities, device nodes. */
import { afterAll, beforeAll, expect, test } from "vitest";
import type { TarEntry, TarInput } from "../support/tools-tar.js";
import { describeUnless } from "../support/tools-suite.js";
import { lacksTools } from "../support/tools.js";
import { type Lab, openLab, type Stage, type StepOptions } from "./sandbox-stage.js";

const SETCAP_NET_RAW = Buffer.from("0100000200200000000000000000000000000000", "hex");
const XATTR = "security.capability";

/** This machine's own programs, and where they find their libraries. */
const TOOLS: StepOptions = {
  env: { PATH: "/usr/sbin:/usr/bin:/sbin:/bin" },
  mounts: [{ kind: "bind", source: "/usr", target: "/usr", readonly: true }],
};
const LIBRARIES: readonly TarInput[] = ["lib", "lib64"].map((name) => ({
  name,
  type: "symlink",
  linkname: `usr/${name}`,
}));
const PROGRAM: TarInput = { name: "srv/ping", type: "file", mode: 0o755, data: "ping" };
const CAPABLE: TarInput = { ...PROGRAM, xattrs: new Map([[XATTR, SETCAP_NET_RAW]]) };

const lacks = lacksTools("proot", "busybox", "setcap", "getcap", "setfattr", "getfattr");
describeUnless([lacks], "the proot driver, where only root may", () => {
  let lab: Lab;
  beforeAll(async () => {
    lab = await openLab("proot");
  });
  afterAll(() => lab?.[Symbol.asyncDispose]());

  async function entriesOf(stage: Stage): Promise<ReadonlyMap<string, TarEntry>> {
    return new Map((await stage.seal()).map((entry) => [entry.name, entry]));
  }

  function said(text: string): readonly string[] {
    return text.trimEnd().split("\n");
  }

  test("keeps file capabilities that a step sets, and shows them to it", async () => {
    const stage = await lab.stage(LIBRARIES, [PROGRAM]);
    const script = [
      "getfattr -n security.capability /srv/ping 2>&1 | grep -o 'No such attribute'",
      "setcap cap_net_raw=ep /srv/ping; getcap /srv/ping",
      "getfattr -m - --absolute-names /srv/ping | sed 1d",
      "cp -a /srv/ping /copy; getcap /copy; cp /srv/ping /bare; getcap /bare; mv /copy /moved",
      "ln /moved /linked; getcap /linked",
    ];
    expect(said(await stage.sh(script.join("\n"), TOOLS))).toEqual([
      "No such attribute",
      "/srv/ping cap_net_raw=ep",
      XATTR,
      "",
      "/copy cap_net_raw=ep",
      "/linked cap_net_raw=ep",
    ]);
    const entries = await entriesOf(stage);
    for (const name of ["srv/ping", "linked"]) {
      expect(entries.get(name)?.xattrs.get(XATTR), name).toEqual(SETCAP_NET_RAW);
    }
    expect(entries.get("moved")).toMatchObject({ type: "hardlink", linkname: "linked" });
    expect(entries.get("bare")?.xattrs.size).toBe(0);
  });

  test("takes capabilities away as the kernel does: by name, with a new owner, with new content", async () => {
    const names = ["removed", "given", "written", "dated", "replaced"];
    const layer = names.map((name) => ({ ...CAPABLE, name: `srv/${name}` }));
    const stage = await lab.stage(LIBRARIES, layer);
    const script = [
      "cd /srv; getcap *; setcap -r removed; chown 1:1 given; echo more >>written",
      "touch -d @1000 dated; cp dated new; mv new replaced; getcap *",
      "setcap -r removed 2>&1 | head -n 1; ls",
    ];
    const lines = said(await stage.sh(script.join("\n"), TOOLS));
    const before = [...names].sort().map((name) => `${name} cap_net_raw=ep`);
    expect(lines.slice(0, 6)).toEqual([...before, "dated cap_net_raw=ep"]);
    const entries = await entriesOf(stage);
    const capable = [...entries].filter(([, { xattrs }]) => xattrs.has(XATTR));
    expect(capable.map(([name]) => name)).toEqual(["srv/dated"]);
    expect([...entries.keys()].toSorted()).toEqual([
      "srv/",
      ...[...names].sort().map((name) => `srv/${name}`),
    ]);
  });

  test("keeps capabilities of a program that takes another's place, and through later steps", async () => {
    const stage = await lab.stage(LIBRARIES, [PROGRAM]);
    await stage.sh("cp /srv/ping /n; setcap cap_net_raw=ep /n; mv /n /srv/ping", TOOLS);
    const first = await entriesOf(stage);
    expect(first.get("srv/ping")?.xattrs.get(XATTR)).toEqual(SETCAP_NET_RAW);
    expect(await stage.sh("getcap /srv/ping; chmod 700 /srv/ping", TOOLS)).toBe(
      "/srv/ping cap_net_raw=ep\n",
    );
    const second = (await entriesOf(stage)).get("srv/ping");
    expect(second?.mode).toBe(0o700);
    expect(second?.xattrs.get(XATTR)).toEqual(SETCAP_NET_RAW);
  });

  test("leaves attributes of users to the files, and refuses what nobody could keep", async () => {
    const stage = await lab.stage(LIBRARIES, [CAPABLE]);
    const script = [
      "cd /srv; setfattr -n user.color -v blue ping; getfattr --only-values -n user.color ping; echo",
      "getfattr -d -m - ping | sed 1d | sed 's/=.*//'; ln -s ping link",
      "getfattr -h -n user.color link 2>&1 | sed 's/.*: //'; getfattr -m user link | sed 1d",
      "setfattr -h -n user.x -v 1 link 2>&1; setfattr -x user.color ping; getfattr -m user ping",
      "setfattr -n user.kept -v yes ping",
    ];
    expect(said(await stage.sh(script.join("\n"), TOOLS))).toEqual([
      "blue",
      XATTR,
      "user.color",
      "",
      "No such attribute",
      "user.color",
      "",
      "setfattr: link: Operation not supported",
    ]);
    const ping = (await entriesOf(stage)).get("srv/ping");
    expect(ping?.xattrs.get(XATTR)).toEqual(SETCAP_NET_RAW);
    expect(ping?.xattrs.get("user.kept")?.toString()).toBe("yes");
  });

  test("makes device nodes for the layer, which look like ones to the step", async () => {
    const stage = await lab.stage(LIBRARIES);
    const script = [
      "umask 027; mkdir /jail; cd /jail; mknod null c 1 3; mknod -m 644 /jail/disk b 259 70000; mknod pipe p",
      "stat -c '%n %F %a %t:%T %s' null disk pipe; test -c null && test -b disk && echo yes",
      "chmod 666 null; chown 5:6 disk; mv null zero; ln zero same; cp -a disk copy; rm -f same",
      "stat -c '%n %F %a %u:%g' zero copy; mknod zero c 1 3 2>&1; cat zero 2>&1; rm -rf copy",
      "tar c . | tar t -v | grep -o '^[bc]' | sort | tr -d '\\n'",
    ];
    expect(said(await stage.sh(script.join("\n"), TOOLS))).toEqual([
      "null character special file 640 1:3 0",
      "disk block special file 644 103:11170 0",
      "pipe fifo 640 0:0 0",
      "yes",
      "zero character special file 666 0:0",
      "copy block special file 644 5:6",
      "mknod: zero: File exists",
      "cat: zero: No such device or address",
      "bc",
    ]);
    const entries = await entriesOf(stage);
    expect([...entries.keys()].toSorted()).toEqual([
      "jail/",
      "jail/disk",
      "jail/pipe",
      "jail/zero",
    ]);
    expect(entries.get("jail/zero")).toMatchObject({
      type: "char",
      mode: 0o666,
      uid: 0,
      gid: 0,
      major: 1,
      minor: 3,
    });
    expect(entries.get("jail/disk")).toMatchObject({
      type: "block",
      mode: 0o644,
      uid: 5,
      gid: 6,
      major: 259,
      minor: 70_000,
    });
  });

  test("has an image's device nodes in its root, and says when a step removes one", async () => {
    const nodes = ["kept", "changed", "gone"].map((name): TarInput => ({
      name: `srv/${name}`,
      type: "char",
      mode: 0o620,
      uid: 3,
      gid: 4,
      major: 10,
      minor: 200,
    }));
    const stage = await lab.stage(LIBRARIES, nodes);
    const script = "stat -c '%F %t:%T %u %a' /srv/kept; chmod 600 /srv/changed; rm /srv/gone";
    expect(await stage.sh(script, TOOLS)).toBe("character special file a:c8 3 620\n");
    const entries = await entriesOf(stage);
    expect([...entries.keys()].toSorted()).toEqual(["srv/", "srv/.wh.gone", "srv/changed"]);
    const changed = { type: "char", mode: 0o600, uid: 3, gid: 4, major: 10, minor: 200 };
    expect(entries.get("srv/changed")).toMatchObject(changed);
    await stage.sh("rm /srv/kept; touch /srv/kept", TOOLS);
    expect((await entriesOf(stage)).get("srv/kept")).toMatchObject({ type: "file" });
  });

  test("reads nothing but files for capabilities that an image gives to whatever it likes", async () => {
    const xattrs = new Map([[XATTR, SETCAP_NET_RAW]]);
    const stage = await lab.stage(LIBRARIES, [
      { name: "srv/pipe", type: "fifo", xattrs },
      { name: "srv/link", type: "symlink", linkname: "/dev/zero", xattrs },
      { name: "srv/dir", type: "dir", xattrs },
      { name: "srv/node", type: "char", major: 1, minor: 5, xattrs },
    ]);
    const script = "cd /srv; touch -h -d @1 *; getfattr -h -n security.capability dir | sed -n 1p";
    expect(await stage.sh(script, TOOLS)).toBe("# file: dir\n");
    const names = [...(await entriesOf(stage)).keys()].toSorted();
    expect(names).toEqual(["srv/", "srv/dir/", "srv/link", "srv/node", "srv/pipe"]);
  });

  test("refuses both to a user who is not root", async () => {
    const stage = await lab.stage(LIBRARIES, [{ ...PROGRAM, uid: 1000, gid: 1000 }]);
    const step = { ...TOOLS, uid: 1000, gid: 1000, groups: [1000] };
    const script =
      "setcap cap_net_raw=ep /srv/ping 2>&1; mknod /tmp/x c 1 3 2>&1; mknod /tmp/p p; ls /tmp";
    const lines = said(await stage.sh(script, step));
    expect(lines[0]).toContain("Operation not permitted");
    expect(lines.slice(-2)).toEqual(["mknod: /tmp/x: Operation not permitted", "p"]);
    const entries = await entriesOf(stage);
    expect(entries.get("srv/ping")?.xattrs.size ?? 0).toBe(0);
  });

  test("answers calls that proot does not know about files of the root, and tells the step's name", async () => {
    const stage = await lab.stage(LIBRARIES, [{ ...PROGRAM, name: "only-here" }]);
    // dash asks with faccessat2, of which an older proot lets the path pass untranslated.
    const script = "test -x /only-here && echo there; uname -n; hostname";
    const lines = said(await stage.sh(script, { ...TOOLS, hostname: "told" }));
    expect(lines).toEqual(["there", "told", "told"]);
  });
});

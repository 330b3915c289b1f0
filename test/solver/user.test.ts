import { describe, expect, test } from "vitest";
import { resolveOwner, resolveUser } from "../../src/solver/user.js";
import { MemoryTree } from "./copy/support.js";

const root = new MemoryTree({
  "etc/passwd": [
    "root:x:0:0:root:/root:/bin/sh",
    "daemon:x:1:1::/usr/sbin:/bin/false",
    "",
    "dockerio:x:1001:1001::/bin:/bin/false",
    "twice:x:5:6::/first:/bin/sh",
    "twice:x:7:8::/second:/bin/sh",
    "nohome:x:9:9",
    "broken",
  ].join("\n"),
  "etc/group": [
    "root:x:0:",
    "wheel:x:10:root,other",
    "dockerio:x:1001:",
    "supplementary:x:1002:dockerio",
    "mixed:x:1003:a,dockerio,b",
  ].join("\n"),
});
const empty = new MemoryTree();

describe("the owner of --chown", () => {
  test.each<[spec: string, uid: number, gid: number, unknown: string[]]>([
    ["1001", 1001, 1001, []],
    ["5", 5, 5, []],
    ["10:11", 10, 11, []],
    ["dockerio", 1001, 1001, []],
    ["daemon:wheel", 1, 10, []],
    ["dockerio:5", 1001, 5, []],
    ["7:supplementary", 7, 1002, []],
    ["root", 0, 0, []],
    [":wheel", 0, 10, []],
    ["5:", 5, 0, []],
    ["daemon:", 1, 0, []],
    ["root:root", 0, 0, []],
    ["twice", 5, 6, []],
    ["4000000000", 4_000_000_000, 4_000_000_000, []],
    ["nobodyhere", 0, 0, ["nobodyhere"]],
    ["dockerio:nogroup", 1001, 1001, ["nogroup"]],
    ["4294967295", 0, 0, ["4294967295"]],
  ])("%j is %d:%d", (spec, uid, gid, unknown) => {
    expect(resolveOwner(root, spec)).toEqual({ uid, gid, unknown });
  });

  test("numbers need no filesystem, names do", () => {
    expect(resolveOwner(empty, "10:11")).toEqual({ uid: 10, gid: 11, unknown: [] });
    expect(resolveOwner(empty, "root:0")).toEqual({ uid: 0, gid: 0, unknown: [] });
    expect(() => resolveOwner(empty, "someone")).toThrow(/no \/etc\/passwd/);
    expect(() => resolveOwner(empty, "1:staff")).toThrow(/no \/etc\/passwd/);
  });

  test("without a passwd file a name is unknown", () => {
    expect(resolveOwner(new MemoryTree({ bin: "" }), "someone").unknown).toEqual(["someone"]);
  });
});

describe("the user of RUN", () => {
  test.each<[spec: string, uid: number, gid: number, groups: number[], home: string]>([
    ["", 0, 0, [0, 10], "/root"],
    ["root", 0, 0, [0, 10], "/root"],
    ["0", 0, 0, [0, 10], "/root"],
    ["dockerio", 1001, 1001, [1001, 1002, 1003], "/bin"],
    ["1001", 1001, 1001, [1001, 1002, 1003], "/bin"],
    ["dockerio:dockerio", 1001, 1001, [1001], "/bin"],
    ["1001:supplementary", 1001, 1002, [1002], "/bin"],
    ["dockerio:1002", 1001, 1002, [1002], "/bin"],
    ["1042:1043", 1042, 1043, [1043], "/"],
    ["1042", 1042, 0, [0], "/"],
    ["nohome", 9, 9, [9], "/"],
    ["twice", 5, 6, [6], "/first"],
  ])("%j is %d:%d", (spec, uid, gid, groups, home) => {
    expect(resolveUser(root, spec)).toEqual({ uid, gid, groups, home });
  });

  test("an unknown name is an error, a number on an empty filesystem is not", () => {
    expect(() => resolveUser(root, "nosuch")).toThrow(/find the user "nosuch"/);
    expect(() => resolveUser(root, "dockerio:nosuch")).toThrow(/find the group "nosuch"/);
    expect(resolveUser(empty, "")).toEqual({ uid: 0, gid: 0, groups: [0], home: "/" });
    expect(resolveUser(empty, "7:8")).toEqual({ uid: 7, gid: 8, groups: [8], home: "/" });
  });

  test("files that are links are read inside the root", () => {
    const linked = new MemoryTree({
      "etc/passwd": { link: "/usr/share/passwd" },
      "usr/share/passwd": "app:x:3:4::/app:/bin/sh",
    });
    expect(resolveUser(linked, "app")).toMatchObject({ uid: 3, gid: 4, home: "/app" });
  });
});

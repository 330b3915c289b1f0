/**
 * A base of two layers with what careless tools lose: opaque and plain whiteouts, devices, a fifo, file capabilities,
 * attributes with bytes that are no text, hard links across directories, owners above 2^18, long and odd names,
 * set-id bits, fractions of seconds, links that point out.
 */
import type { TarInput } from "./tools-tar.js";

const MTIME = 1_700_000_000;
/** cap_net_raw+ep as the kernel stores it: VFS_CAP_REVISION_2, effective. Holds NUL and bytes above 127. */
export const CAP_NET_RAW: Buffer = Buffer.from("0100000200200000000000000000000000000000", "hex");
/** A value that no text encoding survives. */
export const BINARY_VALUE: Buffer = Buffer.from([0x00, 0xff, 0x0a, 0x3d, 0x80, 0xfe, 0x00, 0x20]);
/** 255 bytes: the longest name that Linux takes. */
export const LONGEST_NAME: string = "n".repeat(255);
/** A path of more than 1000 bytes, each name of 120. */
export const LONG_PATH: string = Array.from({ length: 9 }, (_, i) => `${i}`.repeat(120)).join("/");
/** Above 262143, the largest id that some tar libraries write. */
export const HIGH_ID = 60_000_000;

/** The layers' entries, the lowest first. */
export function nastyLayers(busybox: Buffer): readonly (readonly TarInput[])[] {
  return [lowerLayer(busybox), upperLayer()];
}

function lowerLayer(busybox: Buffer): readonly TarInput[] {
  return stamped([
    ...smallSystem(busybox),
    dir("gone"),
    file("gone/a", "a"),
    dir("gone/deep"),
    file("gone/deep/b", "b"),
    dir("veiled"),
    file("veiled/old", "must not be seen"),
    dir("veiled/olddir"),
    file("veiled/olddir/x", "x"),
    file("deleted", "must not be seen"),
    file("replaced-by-dir", "file"),
    dir("replaced-by-file"),
    file("replaced-by-file/x", "x"),
    dir("links"),
    { ...file("links/one", "one inode, three names"), mode: 0o4711 },
    hard("links/two", "links/one"),
    dir("links/elsewhere"),
    hard("links/elsewhere/three", "links/one"),
    ...longPathEntries(),
  ]);
}

/** Just enough for a `RUN true`. */
function smallSystem(busybox: Buffer): readonly TarInput[] {
  return [
    ...["bin", "etc", "proc", "sys", "dev"].map(dir),
    { ...dir("tmp"), mode: 0o1777 },
    { name: "bin/busybox", mode: 0o755, data: busybox },
    ...["sh", "true", "ls", "cat", "test"].map((name): TarInput => ({
      ...hard(`bin/${name}`, "bin/busybox"),
      mode: 0o755,
    })),
    file("etc/passwd", "root:x:0:0:root:/:/bin/sh\n"),
    file("etc/group", "root:x:0:\n"),
  ];
}

function longPathEntries(): readonly TarInput[] {
  const names = LONG_PATH.split("/");
  return [
    ...names.map((_, i) => dir(names.slice(0, i + 1).join("/"))),
    file(`${LONG_PATH}/leaf`, "deep"),
    file(LONGEST_NAME, "long"),
    { name: "long-link", type: "symlink", mode: 0o777, linkname: `/${LONG_PATH}/leaf` },
  ];
}

function upperLayer(): readonly TarInput[] {
  const xattrs = (values: Readonly<Record<string, string | Buffer>>): Map<string, Buffer> =>
    new Map(Object.entries(values).map(([key, value]) => [key, Buffer.from(value)]));
  return stamped([
    { name: ".wh.gone", data: "" },
    { name: ".wh.deleted", data: "" },
    { ...dir("veiled"), mode: 0o750, uid: 7, gid: 8 },
    { name: "veiled/.wh..wh..opq", data: "" },
    file("veiled/new", "seen"),
    { name: ".wh.replaced-by-dir", data: "" },
    dir("replaced-by-dir"),
    file("replaced-by-dir/y", "y"),
    { name: ".wh.replaced-by-file", data: "" },
    file("replaced-by-file", "file now"),
    dir("devices"),
    { name: "devices/null", type: "char", mode: 0o666, major: 1, minor: 3 },
    { name: "devices/loop", type: "block", mode: 0o660, gid: 6, major: 7, minor: 200 },
    { name: "devices/high", type: "char", mode: 0o600, major: 300, minor: 70_000 },
    { name: "devices/fifo", type: "fifo", mode: 0o640, uid: 5 },
    {
      ...file("capable", "#!/bin/sh\n"),
      mode: 0o755,
      xattrs: xattrs({ "security.capability": CAP_NET_RAW }),
    },
    {
      ...file("attributed", "x"),
      xattrs: xattrs({ "user.text": "grüße", "user.binary": BINARY_VALUE }),
    },
    { ...dir("attributed-dir"), mode: 0o2775, xattrs: xattrs({ "user.dir": "yes" }) },
    { ...file("owned", "x"), uid: HIGH_ID, gid: HIGH_ID + 1 },
    { ...dir("sticky"), mode: 0o1777, uid: 300_000, gid: 300_001 },
    { ...file("setgid", "x"), mode: 0o2755, gid: 42 },
    { ...file("mode-zero", "x"), mode: 0 },
    { ...file("fraction", "x"), mtime: MTIME + 0.123456789 },
    { ...file("before-1970", "x"), mtime: 1 },
    file("odd \\ name\twith\nbytes ünïcode", "odd"),
    file(" leading and trailing ", "spaces"),
    { name: "links/out", type: "symlink", mode: 0o777, linkname: "../../../../../etc/passwd" },
    { name: "links/dangling", type: "symlink", mode: 0o777, uid: 9, linkname: "/nowhere/at/all" },
    { name: "links/self", type: "symlink", mode: 0o777, linkname: "self" },
    file("empty", ""),
  ]);
}

function stamped(entries: readonly TarInput[]): readonly TarInput[] {
  return entries.map((entry) => ({ mtime: MTIME, ...entry }));
}

function dir(name: string): TarInput {
  return { name, type: "dir", mode: 0o755 };
}

function file(name: string, data: string): TarInput {
  return { name, data };
}

function hard(name: string, linkname: string): TarInput {
  return { name, type: "hardlink", mode: 0o4711, linkname };
}

import { expect, test } from "vitest";
import { judgeInPlace, type InPlaceFacts } from "../../src/worker/probe-in-place.js";
import { mountPoints, openKeep } from "../../src/worker/snapshot/in-place-keep.js";
import { probeHost } from "../../src/worker/start.js";
import type { InPlaceOptions } from "../../src/worker/types.js";
import { describeUnless } from "../support/tools-suite.js";
import { lacksRoot, tempDir } from "../support/tools.js";

const OVERLAY = "22 1 0:30 / / rw - overlay overlay rw";
const DISK = "22 1 8:1 / / rw - ext4 /dev/sda1 rw";
/** The executor's image in a Pod with default settings. */
const POD: InPlaceFacts = {
  euid: 0,
  capabilities: 0xa80425fbn,
  mountinfo: `${OVERLAY}\n23 22 0:31 / /proc rw - proc proc rw\n`,
  pidNamespace: "pid:[4026532200]",
  firstProcess: "executor\n",
  cgroups: "0::/\n",
  programFiles: ["/kaniko/bin/node", "/kaniko/app/dist/child.js", "/kaniko/lib/libc.so.6"],
  isWritable: true,
  hasKernel: false,
  hasRootDevice: false,
  hasContainerFile: false,
  hasSystem: false,
  isTakenOver: false,
};
const PLAIN: InPlaceOptions = {
  home: "/kaniko",
  ignored: [],
  force: false,
  wipeFirst: false,
  wipeLast: false,
  preserve: false,
};
const FORCED: InPlaceOptions = { ...PLAIN, force: true, wipeFirst: true };

test("/ may be rewritten by the executor's image in a Pod", () => {
  expect(judgeInPlace(POD, PLAIN)).toBeUndefined();
});

test.each<readonly [string, Partial<InPlaceFacts>, RegExp]>([
  ["an ordinary user", { euid: 1000 }, /only root/],
  ["root without a capability", { capabilities: 0xa80425fbn & ~0x80n }, /capabilities SETUID/],
  ["a read-only root", { isWritable: false }, /read-only/],
  ["the first pid namespace", { pidNamespace: "pid:[4026531836]" }, /machine's first pid/],
  ["a hidden pid namespace", { pidNamespace: "" }, /does not tell the pid namespace/],
  ["systemd", { firstProcess: "systemd\n" }, /first process is systemd/],
  ["an init", { firstProcess: "init\n" }, /first process is init/],
  ["a disk", { mountinfo: DISK }, /the whole of \/dev\/sda1 \(ext4\)/],
  [
    "a subvolume that is a machine's",
    { mountinfo: "22 1 0:30 /@rootfs / rw - btrfs /dev/sda2 rw" },
    /the whole of \/dev\/sda2/,
  ],
  ["a memory disk", { mountinfo: "22 1 0:2 / / rw - rootfs rootfs rw" }, /the whole of rootfs/],
  ["a disk under an overlay of the same place", { mountinfo: `${OVERLAY}\n${DISK}` }, /sda1/],
  ["a kernel in /boot", { hasKernel: true }, /boot holds a kernel/],
  ["a device for / in fstab", { hasRootDevice: true }, /fstab/],
  [
    "libraries of the system",
    { programFiles: ["/kaniko/bin/node", "/lib/x86_64-linux-gnu/libc.so.6"] },
    /needs \/lib\/x86_64-linux-gnu\/libc.so.6/,
  ],
])("%s is refused, whatever is asked for", (_name, facts, because) => {
  expect(judgeInPlace({ ...POD, ...facts }, FORCED)?.because).toMatch(because);
});

test.each(["/", "/usr", "/usr/local", "/opt", "/root", "/var/lib", "relative"])(
  "%s is no builder's own directory",
  (home) => {
    expect(judgeInPlace(POD, { ...FORCED, home })?.because).toMatch(/not a directory of tsbuild's/);
  },
);

test("without a sign of a container only --force goes on", () => {
  const bare = { ...POD, mountinfo: "22 1 8:1 /srv/images/a / rw - ext4 /dev/sda1 rw" };
  expect(judgeInPlace(bare, PLAIN)?.because).toMatch(/nothing says that this is a container/);
  expect(judgeInPlace(bare, { ...PLAIN, force: true })).toBeUndefined();
  expect(judgeInPlace({ ...bare, hasContainerFile: true }, PLAIN)).toBeUndefined();
  expect(judgeInPlace({ ...bare, cgroups: "0::/kubepods.slice/x\n" }, PLAIN)).toBeUndefined();
});

test("a system that no build has put there is deleted only when somebody says so", () => {
  const own = { ...POD, hasSystem: true };
  expect(judgeInPlace(own, PLAIN)?.because).toMatch(/holds a system of its own/);
  expect(judgeInPlace(own, { ...PLAIN, wipeFirst: true })).toBeUndefined();
  expect(judgeInPlace(own, { ...PLAIN, force: true })).toBeUndefined();
  // The last stage of an earlier build.
  expect(judgeInPlace({ ...own, isTakenOver: true }, PLAIN)).toBeUndefined();
});

test("a program may lie on mounts and in what is left alone", () => {
  const programFiles = ["/kaniko/bin/node", "/opt/lib/libc.so.6", "/mnt/app/child.js"];
  const mountinfo = `${OVERLAY}\n24 22 8:1 /app /mnt/app ro - ext4 /dev/sda1 rw\n`;
  expect(judgeInPlace({ ...POD, programFiles, mountinfo }, PLAIN)?.because).toMatch(/opt\/lib/);
  const ignored = ["/opt/lib"];
  expect(judgeInPlace({ ...POD, programFiles, mountinfo }, { ...PLAIN, ignored })).toBeUndefined();
});

describeUnless([lacksRoot()], "the probe of this machine", () => {
  test("does not let / be rewritten here, --force or not", async () => {
    await using dir = await tempDir();
    const signal = AbortSignal.timeout(170_000);
    const asked = { driver: "in-place", staging: dir.path, inPlace: FORCED, signal } as const;
    await expect(probeHost(asked)).rejects.toMatchObject({ code: "HOST_UNSUPPORTED" });
  });
});

test("what is kept covers what is below it, and holds the directories above it", () => {
  const keep = openKeep({ paths: ["/kaniko", "/var/run/secrets/kubernetes.io"] });
  expect(["kaniko", "kaniko/a/b", "var/run/secrets/kubernetes.io/x"].map(keep.isKept)).toEqual([
    true,
    true,
    true,
  ]);
  expect(["", "kaniko2", "var", "var/run/secrets", "kanik"].some(keep.isKept)).toBe(false);
  expect(["", "var", "var/run", "var/run/secrets"].every(keep.holdsKept)).toBe(true);
  expect(["kaniko", "var/lib", "etc"].some(keep.holdsKept)).toBe(false);
});

test("what is kept may be a pattern, name by name", () => {
  const keep = openKeep({ paths: ["/tmp/apt-key-*", "/*/cache"] });
  expect(["tmp/apt-key-1", "tmp/apt-key-1/x", "var/cache", "srv/cache/a"].every(keep.isKept)).toBe(
    true,
  );
  expect(["tmp/apt", "tmp/apt/key-1", "cache", "var/lib/cache"].some(keep.isKept)).toBe(false);
  expect(["tmp", "var", "anything"].every(keep.holdsKept)).toBe(true);
});

test("mount points are read with their escapes, / left out", () => {
  const lines = [
    OVERLAY,
    "1 2 0:1 / /with\\040space rw - tmpfs t rw",
    "1 2 0:1 / /b\\134s rw - tmpfs t rw",
    "",
  ];
  expect(mountPoints(Buffer.from(lines.join("\n"), "latin1"))).toEqual(["/with space", "/b\\s"]);
});

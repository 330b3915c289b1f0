import { closeSync, readSync, writeSync } from "node:fs";
import { expect, test } from "vitest";
import { loadLibc, SystemCallError } from "../../src/worker/linux/libc.js";
import { mountsBelow, MS, openMountCalls } from "../../src/worker/linux/mount.js";
import { openProcessCalls } from "../../src/worker/linux/process.js";

test("a failed system call is an error with the errno's name and text", () => {
  const mounts = openMountCalls(loadLibc());
  const unmount = (): void => mounts.unmount("/no such directory");
  expect(unmount).toThrow(SystemCallError);
  expect(unmount).toThrow("umount2: no such file or directory (ENOENT)");
  const libc = loadLibc();
  const exec = libc.declare("int execve(const char *path, const char **argv, const char **env)");
  expect(() => exec("/etc/passwd", ["x", null], [null])).toThrow(/EACCES|ENOEXEC/);
});

test("a pipe carries bytes from its second descriptor to its first", () => {
  const [readEnd, writeEnd] = openProcessCalls(loadLibc()).pipe();
  writeSync(writeEnd, "through");
  const bytes = Buffer.alloc(16);
  expect(bytes.toString("utf8", 0, readSync(readEnd, bytes))).toBe("through");
  for (const fd of [readEnd, writeEnd]) closeSync(fd);
});

test("mounts below a path come with the flags that a remount must repeat", () => {
  const mountinfo = `21 1 8:1 / / rw,relatime - ext4 /dev/vda rw
30 21 0:22 / /a\\040b rw,nosuid,nodev,noexec - tmpfs tmpfs rw
31 30 0:23 / /a\\040b/below ro,noatime - tmpfs tmpfs rw
32 21 0:24 / /a\\040beside rw - tmpfs tmpfs rw
`;
  expect(mountsBelow(mountinfo, "/a b")).toEqual([
    { path: "/a b", flags: MS.NOSUID | MS.NODEV | MS.NOEXEC },
    { path: "/a b/below", flags: MS.RDONLY | MS.NOATIME },
  ]);
  expect(mountsBelow(mountinfo, "/")).toHaveLength(4);
});

import { chmodSync } from "node:fs";
import { S_IFBLK, S_IFSOCK } from "../linux/files.js";
import type { Notification } from "../linux/notify.js";
import type { Device } from "../snapshot/intents.js";
import { type AnswerTools, give, statsOf } from "./answers.js";
import type { NodeCall } from "./attribute-calls.js";
import { placeOf, refused, umaskOf } from "./caller.js";

const S_IFMT = 0o170000;
const MODE_BITS = 0o7777;

/**
 * Answers a call that makes a device node: a socket takes its place, which the layer has as the device, and stat(2)
 * shows as one. Opening it fails with ENXIO, as that of a device without a driver does.
 */
export function answerNode({ tid, args }: Notification, call: NodeCall, tools: AnswerTools): void {
  const { path } = placeOf({ ...call, follow: false }, tid, args, tools.order.space);
  if (tools.order.user.uid !== 0) throw refused("EPERM");
  const mode = Number(args[call.mode] ?? 0n);
  const bits = mode & MODE_BITS & ~umaskOf(tid);
  tools.files.mknod(path, S_IFSOCK | bits, 0, 0);
  // The umask of this process is not the step's.
  chmodSync(path, bits);
  const stats = statsOf({ path, follow: false });
  give(tools, stats, { device: deviceOf(mode, Number(args[call.device] ?? 0n)) });
}

/** The kernel's encoding of device numbers in 32 bits (linux/kdev_t.h). */
function deviceOf(mode: number, device: number): Device {
  return {
    type: (mode & S_IFMT) === S_IFBLK ? "block" : "char",
    major: (device >>> 8) & 0xfff,
    minor: (device & 0xff) | ((device >>> 12) & 0xfff00),
  };
}

/** The reverse. */
export function encodeDevice({ major, minor }: Device): number {
  return ((minor & 0xff) | (major << 8) | ((minor & ~0xff) << 12)) >>> 0;
}

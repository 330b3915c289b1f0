import { closeSync } from "node:fs";
import type { Libc } from "./libc.js";

const AF_INET = 2;
const SOCK_DGRAM = 2;
const SIOCSIFFLAGS = 0x8914;
const IFF_UP = 0x1;
/** sizeof(struct ifreq). */
const IFREQ_SIZE = 40;
const IFNAMSIZ = 16;

/** Brings up "lo" of a network namespace that was just made: many programs expect 127.0.0.1 even without a network. @throws SystemCallError */
export function bringUpLoopback(libc: Libc): void {
  const socket = libc.declare("int socket(int domain, int type, int protocol)");
  const ioctl = libc.declare("int ioctl(int fd, unsigned long request, void *argument)");
  const request = Buffer.alloc(IFREQ_SIZE);
  request.write("lo");
  request.writeInt16LE(IFF_UP, IFNAMSIZ);
  const fd = socket(AF_INET, SOCK_DGRAM, 0);
  try {
    ioctl(fd, SIOCSIFFLAGS, request);
  } finally {
    closeSync(fd);
  }
}

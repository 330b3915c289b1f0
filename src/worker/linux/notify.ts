import { constants } from "node:os";
import type { Libc } from "./libc.js";

/** `struct seccomp_notif` and its answer (linux/seccomp.h), and the ioctls for them. */
const NOTIFICATION_SIZE = 80;
const ANSWER_SIZE = 24;
const NOTIF_RECV = 0xc0502100;
const NOTIF_SEND = 0xc0182101;
const POLLIN = 1;
const POLLHUP = 0x10;
const POLLERR = 8;
const AF_UNIX = 1;
const SOCK_STREAM = 1;
const SOCK_CLOEXEC = 0o2000000;
const MSG_CMSG_CLOEXEC = 0x40000000;
const SCM_RIGHTS = 1;
const SOL_SOCKET = 1;
const PR_SET_NO_NEW_PRIVS = 38;
const PR_SET_SECCOMP = 22;
const SECCOMP_MODE_FILTER = 2;

/** A system call that waits for its answer. */
export interface Notification {
  readonly id: bigint;
  /** Of the thread that calls. */
  readonly tid: number;
  readonly call: number;
  readonly args: readonly bigint[];
}

/** System calls that a seccomp filter hands to another process (seccomp_unotify(2)). */
export interface NotifyCalls {
  /** Two connected sockets that close at execve. */
  socketPair(): readonly [number, number];
  /** Waits for a descriptor that comes over the socket; `undefined` when it ends without one. Blocks. */
  receiveFd(socket: number): number | undefined;
  /** Waits for the next call. `undefined` when no process is left that could make one. Blocks. */
  next(listener: number): Notification | undefined;
  /** Answers with a result, or with an errno as in `os.constants.errno` made negative. A caller that is gone is fine. */
  answer(listener: number, id: bigint, result: number): void;
}

export function openNotifyCalls(libc: Libc): NotifyCalls {
  const socketpair = libc.declare("int socketpair(int domain, int type, int protocol, void *fds)");
  return {
    socketPair() {
      const fds = new Int32Array(2);
      socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, new Uint8Array(fds.buffer));
      return [fds[0] ?? -1, fds[1] ?? -1];
    },
    receiveFd: fdReceiver(libc),
    ...listenerCalls(libc),
  };
}

function listenerCalls(libc: Libc): Pick<NotifyCalls, "next" | "answer"> {
  const poll = libc.declareBare("int poll(_Inout_ uint8_t *fds, unsigned long count, int ms)");
  const receive = libc.declareBare("int ioctl(int fd, unsigned long request, _Inout_ uint8_t *at)");
  const { EINTR, ENOENT } = constants.errno;
  const polled = Buffer.alloc(8);
  return {
    next(listener) {
      for (;;) {
        polled.fill(0);
        polled.writeInt32LE(listener, 0);
        polled.writeInt16LE(POLLIN, 4);
        if (Number(poll(polled, 1, -1)) < 0) {
          if (libc.errno() === EINTR) continue;
          throw libc.failure("poll", `fd ${listener}`);
        }
        const found = polled.readInt16LE(6);
        if ((found & POLLIN) === 0 && (found & (POLLHUP | POLLERR)) !== 0) return undefined;
        // The kernel wants it empty.
        const bytes = Buffer.alloc(NOTIFICATION_SIZE);
        if (Number(receive(listener, NOTIF_RECV, bytes)) === 0) return notificationOf(bytes);
        // The caller was killed, or a signal took it out of its call.
        const errno = libc.errno();
        if (errno !== ENOENT && errno !== EINTR) throw libc.failure("ioctl", `fd ${listener}`);
      }
    },
    answer(listener, id, result) {
      const bytes = Buffer.alloc(ANSWER_SIZE);
      bytes.writeBigUInt64LE(id, 0);
      if (result < 0) bytes.writeInt32LE(result, 16);
      else bytes.writeBigInt64LE(BigInt(result), 8);
      if (Number(receive(listener, NOTIF_SEND, bytes)) === 0 || libc.errno() === ENOENT) return;
      throw libc.failure("ioctl", `fd ${listener}`);
    },
  };
}

function notificationOf(bytes: Buffer): Notification {
  const args = [0, 1, 2, 3, 4, 5].map((index) => bytes.readBigUInt64LE(32 + 8 * index));
  return {
    id: bytes.readBigUInt64LE(0),
    tid: bytes.readUInt32LE(8),
    call: bytes.readInt32LE(16),
    args,
  };
}

/** Lets a seccomp filter (`struct sock_filter`) judge what this thread calls from now on, after execve too, which gives no privileges any more. */
export function confine(libc: Libc, filter: Uint8Array): void {
  const prctl = libc.declare("int prctl(int option, unsigned long a, uintptr_t b, long c, long d)");
  const malloc = libc.declareBare("uintptr_t malloc(size_t bytes)");
  const free = libc.declareBare("void free(uintptr_t at)");
  const put = libc.declareBare("uintptr_t memcpy(uintptr_t to, const uint8_t *from, size_t bytes)");
  const base = BigInt(malloc(16 + filter.length));
  const program = Buffer.alloc(16);
  program.writeUInt16LE(filter.length / 8, 0);
  program.writeBigUInt64LE(base + 16n, 8);
  const bytes = Buffer.concat([program, filter]);
  try {
    put(base, bytes, bytes.length);
    prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
    prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, base, 0, 0);
  } finally {
    // The kernel keeps its own.
    free(base);
  }
}

/** In memory outside of JavaScript: the message names places in itself. */
const MESSAGE = {
  bytes: 256,
  vectorAt: 16,
  headerAt: 32,
  controlAt: 128,
  controlBytes: 64,
} as const;

function fdReceiver(libc: Libc): NotifyCalls["receiveFd"] {
  const malloc = libc.declareBare("uintptr_t malloc(size_t bytes)");
  const free = libc.declareBare("void free(uintptr_t at)");
  const put = libc.declareBare("uintptr_t memcpy(uintptr_t to, const uint8_t *from, size_t bytes)");
  const get = libc.declareBare(
    "uintptr_t memmove(_Out_ uint8_t *to, uintptr_t from, size_t bytes)",
  );
  const recvmsg = libc.declare("int64_t recvmsg(int socket, uintptr_t message, int flags)");
  return (socket) => {
    const base = BigInt(malloc(MESSAGE.bytes));
    const bytes = Buffer.alloc(MESSAGE.bytes);
    const { vectorAt, headerAt, controlAt, controlBytes } = MESSAGE;
    bytes.writeBigUInt64LE(base, vectorAt);
    bytes.writeBigUInt64LE(8n, vectorAt + 8);
    bytes.writeBigUInt64LE(base + BigInt(vectorAt), headerAt + 16);
    bytes.writeBigUInt64LE(1n, headerAt + 24);
    bytes.writeBigUInt64LE(base + BigInt(controlAt), headerAt + 32);
    bytes.writeBigUInt64LE(BigInt(controlBytes), headerAt + 40);
    try {
      put(base, bytes, bytes.length);
      recvmsg(socket, base + BigInt(headerAt), MSG_CMSG_CLOEXEC);
      get(bytes, base, bytes.length);
      const isFd =
        bytes.readBigUInt64LE(headerAt + 40) >= 20n &&
        bytes.readInt32LE(controlAt + 8) === SOL_SOCKET &&
        bytes.readInt32LE(controlAt + 12) === SCM_RIGHTS;
      return isFd ? bytes.readInt32LE(controlAt + 16) : undefined;
    } finally {
      free(base);
    }
  };
}

// The thread that stands in for the kernel where a step gives a file away: the kernel would refuse it to this user, so
// it is written down for the layer, and the step goes on as if it had been done.
import {
  type BigIntStats,
  chmodSync,
  closeSync,
  lstatSync,
  openSync,
  readSync,
  statSync,
  writeSync,
} from "node:fs";
import { constants } from "node:os";
import { parentPort, workerData } from "node:worker_threads";
import { errnoOf } from "../../errors.js";
import { type FileCalls, openFileCalls } from "../linux/files.js";
import { loadLibc } from "../linux/libc.js";
import { type Notification, openNotifyCalls } from "../linux/notify.js";
import { openStateReader, type StateReader } from "../linux/state.js";
import type { Given } from "../snapshot/intents.js";
import type { OwnerReport, OwnerThreadOrder } from "./owners.js";
import {
  GROUPS_CALL,
  layoutOf,
  OWNER_CALLS,
  RESOLVED_ID_CALLS,
  type OwnerCall,
  STATE_CALLS,
  type StateCall,
} from "./owner-calls.js";
import { type PathSpace, resolveForCaller } from "./step-paths.js";

const MODE_BITS = 0o7777;
const PATH_MAX = 4096;
const PAGE = 4096;
const AT_FDCWD = -100;
const AT_SYMLINK_NOFOLLOW = 0x100;
const SET_UID = 0o4000n;
const SET_GID = 0o2000n;
const GROUP_EXECUTES = 0o010n;
/** (uid_t)-1 */
const UNCHANGED = 0xffffffff;

interface Tools {
  readonly files: FileCalls;
  readonly states: StateReader;
  readonly order: OwnerThreadOrder;
  readonly given: Map<bigint, Given>;
}

function serve(order: OwnerThreadOrder): OwnerReport {
  const libc = loadLibc();
  const notify = openNotifyCalls(libc);
  const given = new Map<bigint, Given>();
  const tools = { files: openFileCalls(libc), states: openStateReader(libc), order, given };
  const listener = notify.receiveFd(order.socket);
  closeSync(order.socket);
  if (listener === undefined) return { worked: false, given };
  try {
    for (;;) {
      const notification = notify.next(listener);
      if (notification === undefined) return { worked: true, given };
      notify.answer(
        listener,
        notification.id,
        resultOf(() => handle(notification, tools)),
      );
    }
  } finally {
    closeSync(listener);
  }
}

function resultOf(work: () => number): number {
  const numbers: Readonly<Record<string, number>> = constants.errno;
  try {
    return work();
  } catch (error) {
    return -(numbers[errnoOf(error) ?? ""] ?? constants.errno.EPERM);
  }
}

function handle(notification: Notification, tools: Tools): number {
  if (notification.call === GROUPS_CALL[process.arch]) {
    return tellGroups(notification, tools.order.user.groups);
  }
  if (RESOLVED_ID_CALLS[process.arch]?.includes(notification.call) === true) {
    const { tid, args } = notification;
    for (const address of args.slice(0, 3)) writeBytes(tid, address, Buffer.alloc(4));
    return 0;
  }
  const owner = OWNER_CALLS[process.arch]?.get(notification.call);
  if (owner !== undefined) {
    give(notification, owner, tools);
    return 0;
  }
  const state = STATE_CALLS[process.arch]?.get(notification.call);
  if (state === undefined) throw Object.assign(new Error("unknown call"), { code: "ENOSYS" });
  tell(notification, state, tools);
  return 0;
}

/** The groups of the step's user, since nobody here could take them. */
function tellGroups({ tid, args }: Notification, groups: readonly number[]): number {
  const room = toSigned(args[0] ?? 0n);
  if (room === 0) return groups.length;
  if (room < groups.length) throw Object.assign(new Error("no room"), { code: "EINVAL" });
  if (groups.length > 0)
    writeBytes(tid, args[1] ?? 0n, Buffer.from(Uint32Array.from(groups).buffer));
  return groups.length;
}

function give({ tid, args }: Notification, shape: OwnerCall, tools: Tools): void {
  const { order, given } = tools;
  const { user } = order;
  const { path, follow } = placeOf(shape, tid, args, order.space);
  const stats = (follow ? statSync : lstatSync)(path, { bigint: true });
  const ids = [shape.owner, shape.owner + 1].map((index) => Number(args[index] ?? 0n) >>> 0);
  const [uid = UNCHANGED, gid = UNCHANGED] = ids;
  touch(path, stats, tools.files);
  const known = given.get(stats.ino);
  const before = known?.bornNs === stats.birthtimeNs ? known : undefined;
  given.set(stats.ino, {
    bornNs: stats.birthtimeNs,
    mtimeNs: stats.mtimeNs,
    mode: Number(modeAfter(stats)),
    uid: uid === UNCHANGED ? before?.uid : pretended(uid, user.uid),
    gid: gid === UNCHANGED ? before?.gid : pretended(gid, user.gid),
  });
}

/** Does what the kernel does besides, so that the file is seen to have changed. */
function touch(at: string, stats: BigIntStats, files: FileCalls): void {
  if (stats.isSymbolicLink()) files.utimes(at, stats.mtimeNs);
  else chmodSync(at, Number(modeAfter(stats)));
}

/** Says of a file what is meant to be so. What nothing is known of, proot says. */
function tell({ tid, args }: Notification, shape: StateCall, tools: Tools): void {
  const { path, follow } = placeOf(shape, tid, args, tools.order.space);
  const layout = layoutOf(shape.form);
  const bytes = tools.states(path, follow, shape.form, Number(args[3] ?? 0n));
  const ino = bytes.readBigUInt64LE(layout.inode);
  const { realUid, realGid, uid, gid } = tools.order.user;
  if (bytes.readUInt32LE(layout.uid) === realUid) bytes.writeUInt32LE(uid, layout.uid);
  if (bytes.readUInt32LE(layout.gid) === realGid) bytes.writeUInt32LE(gid, layout.gid);
  const found = meantOf(ino, () => (follow ? statSync : lstatSync)(path, { bigint: true }), tools);
  if (found?.uid !== undefined) bytes.writeUInt32LE(found.uid, layout.uid);
  if (found?.gid !== undefined) bytes.writeUInt32LE(found.gid, layout.gid);
  const mode = bytes.readUInt16LE(layout.mode);
  if (found?.diskMode === (mode & MODE_BITS)) {
    bytes.writeUInt16LE((mode & ~MODE_BITS) | found.mode, layout.mode);
  }
  writeBytes(tid, args[shape.into] ?? 0n, bytes);
}

interface Meant {
  readonly uid: number | undefined;
  readonly gid: number | undefined;
  readonly mode: number;
  readonly diskMode?: number;
}

function meantOf(ino: bigint, look: () => BigIntStats, tools: Tools): Meant | undefined {
  const given = tools.given.get(ino);
  const intent = tools.order.intents.get(ino);
  if (given === undefined && intent === undefined) return undefined;
  const { birthtimeNs } = look();
  const isGiven = given?.bornNs === birthtimeNs;
  const isMeant = intent?.bornNs === birthtimeNs;
  if (!isGiven) return isMeant ? intent : undefined;
  if (!isMeant) return { uid: given.uid, gid: given.gid, mode: given.mode };
  return { ...intent, uid: given.uid ?? intent.uid, gid: given.gid ?? intent.gid };
}

/** proot puts root, whom it takes itself for, in the place of a user whom it pretends: nobody but root gives to root. */
function pretended(id: number, pretence: number): number {
  return id === 0 ? pretence : id;
}

/** A change of owner takes the set-id bits from programs. */
function modeAfter(stats: BigIntStats): bigint {
  const mode = stats.mode & 0o7777n;
  if (!stats.isFile()) return mode;
  const lost = (mode & GROUP_EXECUTES) === 0n ? SET_UID : SET_UID | SET_GID;
  return mode & ~lost;
}

interface Place {
  readonly path: string;
  readonly follow: boolean;
}

/** A path of the host for what a call is about. */
function placeOf(
  shape: Pick<OwnerCall, "directory" | "path" | "follow">,
  tid: number,
  args: readonly bigint[],
  space: PathSpace,
): Place {
  const fd = shape.directory === undefined ? AT_FDCWD : toSigned(args[shape.directory] ?? 0n);
  const directory = fd === AT_FDCWD ? `/proc/${tid}/cwd` : `/proc/${tid}/fd/${fd}`;
  const path = shape.path === undefined ? "" : readText(tid, args[shape.path] ?? 0n);
  // A descriptor may be of something that has no name any more, or never had one.
  if (path === "") {
    const isAsked = shape.path === undefined || typeof shape.follow === "number";
    if (!isAsked) throw Object.assign(new Error("no path"), { code: "ENOENT" });
    return { path: directory, follow: true };
  }
  const flags = typeof shape.follow === "number" ? Number(args[shape.follow] ?? 0n) : 0;
  const follow =
    typeof shape.follow === "number" ? (flags & AT_SYMLINK_NOFOLLOW) === 0 : shape.follow;
  const found = resolveForCaller({ directory, path, follow }, space);
  return { path: found.replace(/^\/proc\/(?:thread-)?self(?=\/|$)/, `/proc/${tid}`), follow };
}

function toSigned(value: bigint): number {
  return Number(BigInt.asIntN(32, value));
}

/** Text that ends with a NUL, from a process's memory: by pages, since the next one may not be there. */
function readText(tid: number, address: bigint): string {
  const fd = openSync(`/proc/${tid}/mem`, "r");
  try {
    let text = Buffer.alloc(0);
    for (let at = address; text.length < PATH_MAX;) {
      const size = PAGE - Number(at % BigInt(PAGE));
      const bytes = Buffer.alloc(size);
      const count = readSync(fd, bytes, 0, size, at);
      const end = bytes.indexOf(0);
      text = Buffer.concat([text, bytes.subarray(0, end < 0 ? count : end)]);
      if (end >= 0) return text.toString();
      at += BigInt(count);
    }
    throw Object.assign(new Error("path too long"), { code: "ENAMETOOLONG" });
  } finally {
    closeSync(fd);
  }
}

function writeBytes(tid: number, address: bigint, bytes: Buffer): void {
  const fd = openSync(`/proc/${tid}/mem`, "r+");
  try {
    writeSync(fd, bytes, 0, bytes.length, Number(address));
  } catch (error) {
    throw Object.assign(new Error("bad address", { cause: error }), { code: "EFAULT" });
  } finally {
    closeSync(fd);
  }
}

// An entry file: starting it is what it is for. Nobody imports it.
parentPort?.postMessage(serve(workerData as OwnerThreadOrder));

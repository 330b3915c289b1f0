// The thread that stands in for the kernel where a step gives a file away, or something that only root can: the kernel
// would refuse it to this user, so it is written down for the layer, and the step goes on as if it had been done.
import { closeSync } from "node:fs";
import { constants } from "node:os";
import { parentPort, workerData } from "node:worker_threads";
import { errnoOf } from "../../errors.js";
import { openAttributeCalls } from "../linux/attributes.js";
import { openFileCalls } from "../linux/files.js";
import { loadLibc } from "../linux/libc.js";
import { openUnameReader } from "../linux/machine-name.js";
import { type Notification, openNotifyCalls } from "../linux/notify.js";
import { openStateReader } from "../linux/state.js";
import { type Given, typeBitsOf } from "../snapshot/intents.js";
import { answerAttributes } from "./answer-attributes.js";
import { answerNode, encodeDevice } from "./answer-nodes.js";
import { type AnswerTools, give, type Meant, meantOf, statsOf, touch } from "./answers.js";
import { attributeCalls, NODE_CALLS } from "./attribute-calls.js";
import { placeOf, refused, toSigned, writeBytes } from "./caller.js";
import type { OwnerReport, OwnerThreadOrder } from "./owners.js";
import {
  GROUPS_CALL,
  layoutOf,
  NAME_CALL,
  OWNER_CALLS,
  RESOLVED_ID_CALLS,
  type OwnerCall,
  STATE_CALLS,
  type StateCall,
  type StateLayout,
} from "./owner-calls.js";

const MODE_BITS = 0o7777;
const S_IFMT = 0o170000;
const SET_UID = 0o4000n;
const SET_GID = 0o2000n;
const GROUP_EXECUTES = 0o010n;
/** (uid_t)-1 */
const UNCHANGED = 0xffffffff;

type Answer = (notification: Notification) => number;

function serve(order: OwnerThreadOrder): OwnerReport {
  const libc = loadLibc();
  const notify = openNotifyCalls(libc);
  const given = new Map<bigint, Given>();
  const answers = openAnswers({
    files: openFileCalls(libc),
    states: openStateReader(libc),
    attributes: openAttributeCalls(libc),
    uname: openUnameReader(libc),
    order,
    given,
  });
  const listener = notify.receiveFd(order.socket);
  closeSync(order.socket);
  if (listener === undefined) return { worked: false, given };
  try {
    for (;;) {
      const notification = notify.next(listener);
      if (notification === undefined) return { worked: true, given };
      const result = resultOf(() => answerOf(answers, notification));
      notify.answer(listener, notification.id, result);
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

function answerOf(answers: ReadonlyMap<number, Answer>, notification: Notification): number {
  const answer = answers.get(notification.call);
  if (answer === undefined) throw refused("ENOSYS");
  return answer(notification);
}

/** By the number of the call. */
function openAnswers(tools: AnswerTools): ReadonlyMap<number, Answer> {
  const { arch } = process;
  const { user, name } = tools.order;
  const answers = new Map<number, Answer>();
  const add = (calls: Iterable<number>, answer: Answer): void => {
    for (const call of calls) answers.set(call, answer);
  };
  const done = (work: () => void): number => {
    work();
    return 0;
  };
  add([GROUPS_CALL[arch] ?? -1], (one) => tellGroups(one, user.groups));
  add(RESOLVED_ID_CALLS[arch] ?? [], (one) => done(() => tellRoot(one)));
  add([NAME_CALL[arch] ?? -1], ({ tid, args }) =>
    done(() => writeBytes(tid, args[0] ?? 0n, tools.uname(name))),
  );
  for (const [call, shape] of OWNER_CALLS[arch] ?? []) {
    add([call], (one) => done(() => giveAway(one, shape, tools)));
  }
  for (const [call, shape] of STATE_CALLS[arch] ?? []) {
    add([call], (one) => done(() => tell(one, shape, tools)));
  }
  for (const [call, shape] of attributeCalls()) {
    add([call], (one) => answerAttributes(one, shape, tools));
  }
  for (const [call, shape] of NODE_CALLS[arch] ?? []) {
    add([call], (one) => done(() => answerNode(one, shape, tools)));
  }
  return answers;
}

/** Of the three ids that there is room for. */
function tellRoot({ tid, args }: Notification): void {
  for (const address of args.slice(0, 3)) writeBytes(tid, address, Buffer.alloc(4));
}

/** The groups of the step's user, since nobody here could take them. */
function tellGroups({ tid, args }: Notification, groups: readonly number[]): number {
  const room = toSigned(args[0] ?? 0n);
  if (room === 0) return groups.length;
  if (room < groups.length) throw refused("EINVAL");
  if (groups.length > 0)
    writeBytes(tid, args[1] ?? 0n, Buffer.from(Uint32Array.from(groups).buffer));
  return groups.length;
}

function giveAway({ tid, args }: Notification, shape: OwnerCall, tools: AnswerTools): void {
  const { user, space } = tools.order;
  const place = placeOf(shape, tid, args, space);
  const stats = statsOf(place);
  const ids = [shape.owner, shape.owner + 1].map((index) => Number(args[index] ?? 0n) >>> 0);
  const [uid = UNCHANGED, gid = UNCHANGED] = ids;
  const mode = modeAfter(stats);
  touch(place.path, stats, tools.files, mode);
  const change = {
    ...(uid === UNCHANGED ? {} : { uid: pretended(uid, user.uid) }),
    ...(gid === UNCHANGED ? {} : { gid: pretended(gid, user.gid) }),
    ...(stats.isDirectory() ? {} : { capability: null }),
  };
  give(tools, stats, change, mode);
}

/** Says of a file what is meant to be so. What nothing is known of, proot says. */
function tell({ tid, args }: Notification, shape: StateCall, tools: AnswerTools): void {
  const place = placeOf(shape, tid, args, tools.order.space);
  const layout = layoutOf(shape.form);
  const bytes = tools.states(place.path, place.follow, shape.form, Number(args[3] ?? 0n));
  const ino = bytes.readBigUInt64LE(layout.inode);
  const { realUid, realGid, uid, gid } = tools.order.user;
  if (bytes.readUInt32LE(layout.uid) === realUid) bytes.writeUInt32LE(uid, layout.uid);
  if (bytes.readUInt32LE(layout.gid) === realGid) bytes.writeUInt32LE(gid, layout.gid);
  const meant = meantOf(ino, () => statsOf(place), tools);
  if (meant !== undefined) showMeant(bytes, shape.form, layout, meant);
  writeBytes(tid, args[shape.into] ?? 0n, bytes);
}

function showMeant(
  bytes: Buffer,
  form: StateCall["form"],
  layout: StateLayout,
  { uid, gid, mode, diskMode, device }: Meant,
): void {
  if (uid !== undefined) bytes.writeUInt32LE(uid, layout.uid);
  if (gid !== undefined) bytes.writeUInt32LE(gid, layout.gid);
  const onDisk = bytes.readUInt16LE(layout.mode);
  const bits = diskMode === (onDisk & MODE_BITS) ? mode : onDisk & MODE_BITS;
  const type = device === undefined ? onDisk & S_IFMT : typeBitsOf(device);
  bytes.writeUInt16LE(type | bits, layout.mode);
  if (device === undefined) return;
  if (form === "stat") bytes.writeBigUInt64LE(BigInt(encodeDevice(device)), layout.device);
  else {
    bytes.writeUInt32LE(device.major, layout.device);
    bytes.writeUInt32LE(device.minor, layout.device + 4);
  }
}

/** proot puts root, whom it takes itself for, in the place of a user whom it pretends: nobody but root gives to root. */
function pretended(id: number, pretence: number): number {
  return id === 0 ? pretence : id;
}

/** A change of owner takes the set-id bits from programs. */
function modeAfter(stats: { readonly mode: bigint; isFile(): boolean }): bigint {
  const mode = stats.mode & 0o7777n;
  if (!stats.isFile()) return mode;
  const lost = (mode & GROUP_EXECUTES) === 0n ? SET_UID : SET_UID | SET_GID;
  return mode & ~lost;
}

// An entry file: starting it is what it is for. Nobody imports it.
parentPort?.postMessage(serve(workerData as OwnerThreadOrder));

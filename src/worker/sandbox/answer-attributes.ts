import type { BigIntStats } from "node:fs";
import { errnoOf } from "../../errors.js";
import type { Notification } from "../linux/notify.js";
import { CAPABILITY, stampContent } from "../snapshot/capability.js";
import { hiddenXattrs } from "../snapshot/intents.js";
import { type AnswerTools, give, meantOf, statsOf, touch } from "./answers.js";
import type { AttributeCall } from "./attribute-calls.js";
import {
  type Place,
  placeOf,
  readBytes,
  refused,
  readText,
  toSigned,
  writeBytes,
} from "./caller.js";

/** linux/xattr.h, in bytes. */
const XATTR_SIZE_MAX = 65_536;
const XATTR_CREATE = 1;
const XATTR_REPLACE = 2;
/** linux/capability.h: the revision is in the highest byte; with it comes the size. */
const CAPABILITY_SIZES: Readonly<Record<number, number>> = { 1: 12, 2: 20, 3: 24 };

/**
 * Answers a call on extended attributes: file capabilities are kept for the layer, those that an image has and its file
 * cannot have are shown, and all others are the file's own.
 */
export function answerAttributes(
  { tid, args }: Notification,
  call: AttributeCall,
  tools: AnswerTools,
): number {
  const place = placeOf(call, tid, args, tools.order.space);
  const [, second = 0n, third = 0n, fourth = 0n, fifth = 0n] = args;
  if (call.kind === "list") {
    return handOut(tid, listOf(place, tools), second, Number(third));
  }
  const name = readText(tid, second);
  switch (call.kind) {
    case "get":
      return handOut(tid, valueOf(place, name, tools), third, Number(fourth));
    case "set":
      if (fourth > BigInt(XATTR_SIZE_MAX)) throw refused("E2BIG");
      set(
        place,
        name,
        { value: readBytes(tid, third, Number(fourth)), flags: toSigned(fifth) },
        tools,
      );
      return 0;
    case "remove":
      remove(place, name, tools);
      return 0;
  }
}

/** The length of what is asked for, which is written where there is room for it; with no room at all only told. */
function handOut(tid: number, bytes: Uint8Array, address: bigint, room: number): number {
  if (room === 0) return bytes.length;
  if (room < bytes.length) throw refused("ERANGE");
  if (bytes.length > 0) writeBytes(tid, address, Buffer.from(bytes));
  return bytes.length;
}

function hiddenOf(
  { path }: Place,
  stats: BigIntStats,
  tools: AnswerTools,
): ReadonlyMap<string, Uint8Array> {
  const meant = meantOf(stats.ino, () => stats, tools);
  return meant === undefined ? new Map() : hiddenXattrs(meant, path, stats);
}

function valueOf(place: Place, name: string, tools: AnswerTools): Uint8Array {
  const hidden = hiddenOf(place, statsOf(place), tools).get(name);
  return hidden ?? tools.attributes.get({ ...place, name });
}

function listOf(place: Place, tools: AnswerTools): Uint8Array {
  const own = tools.attributes.list(place);
  const hidden = [...hiddenOf(place, statsOf(place), tools).keys()];
  const names = own.toString("latin1").split("\0");
  const more = hidden.filter((name) => !names.includes(name));
  return Buffer.concat([own, ...more.map((name) => Buffer.from(`${name}\0`))]);
}

interface NewValue {
  readonly value: Buffer;
  readonly flags: number;
}

function set(place: Place, name: string, { value, flags }: NewValue, tools: AnswerTools): void {
  if (name !== CAPABILITY) {
    withoutRights(() => tools.attributes.set({ ...place, name }, value, flags));
    return;
  }
  const stats = changeable(place, tools);
  checkCapability(value);
  const has = hiddenOf(place, stats, tools).has(CAPABILITY);
  if (has && (flags & XATTR_CREATE) !== 0) throw refused("EEXIST");
  if (!has && (flags & XATTR_REPLACE) !== 0) throw refused("ENODATA");
  give(tools, stats, { capability: { value, ...stampContent(place.path, stats) } });
  touch(place.path, stats, tools.files);
}

function remove(place: Place, name: string, tools: AnswerTools): void {
  if (name !== CAPABILITY) {
    withoutRights(() => tools.attributes.remove({ ...place, name }));
    return;
  }
  const stats = changeable(place, tools);
  if (!hiddenOf(place, stats, tools).has(CAPABILITY)) throw refused("ENODATA");
  give(tools, stats, { capability: null });
  touch(place.path, stats, tools.files);
}

/** proot makes a success of what root was not permitted to do: then nobody would hear that the attribute is lost. */
function withoutRights(work: () => void): void {
  try {
    work();
  } catch (error) {
    throw errnoOf(error) === "EPERM" ? refused("EOPNOTSUPP") : error;
  }
}

/** The state of a file whose capabilities the step may change. */
function changeable(place: Place, { order }: AnswerTools): BigIntStats {
  const stats = statsOf(place);
  if (order.user.uid !== 0) throw refused("EPERM");
  // The kernel takes them for whatever is no symlink; they mean something for programs alone.
  if (!stats.isFile()) throw refused("EOPNOTSUPP");
  return stats;
}

function checkCapability(value: Buffer): void {
  const revision = value.length < 4 ? 0 : value.readUInt32LE(0) >>> 24;
  if (CAPABILITY_SIZES[revision] !== value.length) throw refused("EINVAL");
}

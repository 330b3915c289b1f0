import { fstatSync, readSync } from "node:fs";
import { crc32 } from "node:zlib";
import {
  BLOCK,
  MAGIC,
  SLOT,
  SLOT_AT,
  SLOT_SIZE,
  SUPER,
  SUPER_AT,
  SUPER_SIZE,
  VOLUME_NAME,
} from "./format.js";

const CHECKED_AT_ONCE = 256 * 1024; // bytes

/** Of an image of `size` bytes, behind its superblock. */
export function checksumOf(fd: number, size: number): number {
  const buffer = Buffer.allocUnsafe(CHECKED_AT_ONCE);
  let sum = 0;
  for (let at = SLOT_AT; at < size;) {
    const got = readSync(fd, buffer, 0, Math.min(buffer.length, size - at), at);
    if (got === 0) break;
    sum = crc32(buffer.subarray(0, got), sum);
    at += got;
  }
  return sum;
}

/**
 * Whether a file is an image as this version writes it, whole, for a tar of that many bytes. Neither is flushed to the
 * disk when it is made, so a power cut may leave what only looks like one.
 */
export function isWholeImage(fd: number, tarSize: number): boolean {
  const { size } = fstatSync(fd);
  const head = Buffer.alloc(SUPER_SIZE + SLOT_SIZE);
  if (readSync(fd, head, 0, head.length, SUPER_AT) < head.length) return false;
  const name = head.toString("latin1", SUPER.volumeName, SUPER.volumeName + VOLUME_NAME.length);
  return (
    head.readUInt32LE(SUPER.magic) === MAGIC &&
    name === VOLUME_NAME &&
    head.readUInt32LE(SUPER.blocks) * BLOCK === size &&
    head.readUInt32LE(SUPER_SIZE + SLOT.blocks) === Math.floor(tarSize / BLOCK) &&
    head.readUInt32LE(SUPER.uuid) === checksumOf(fd, size)
  );
}

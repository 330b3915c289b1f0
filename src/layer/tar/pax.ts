import { decodeName } from "../path-bytes.js";
import type { RawHeader } from "./header.js";
import { parseDecimal, parseTimeNs } from "./numbers.js";

/** One `length key=value` line of a PAX extended header. Values are bytes: file capabilities are not text. */
export interface PaxRecord {
  readonly key: string;
  readonly value: Uint8Array;
}

const SCHILY_XATTR = "SCHILY.xattr.";
const LIBARCHIVE_XATTR = "LIBARCHIVE.xattr.";

/** The records of an extended header's body in their order; `undefined` when it is malformed. POSIX pax, "pax Extended Header". */
export function parsePax(body: Uint8Array): readonly PaxRecord[] | undefined {
  const records: PaxRecord[] = [];
  let at = 0;
  while (at < body.length) {
    // Some writers pad the body with NULs up to its size.
    if (body[at] === 0) return body.subarray(at).every((byte) => byte === 0) ? records : undefined;
    const space = body.indexOf(0x20, at);
    if (space < 0 || space === at || space - at > 10) return undefined;
    const digits = decodeName(body.subarray(at, space));
    const length = /^[0-9]+$/.test(digits) ? Number(digits) : 0;
    const end = at + length;
    if (end <= space + 1 || end > body.length || body[end - 1] !== 0x0a) return undefined;
    const equals = body.indexOf(0x3d, space + 1);
    if (equals < 0 || equals >= end - 1 || equals === space + 1) return undefined;
    records.push({
      key: decodeName(body.subarray(space + 1, equals)),
      value: body.subarray(equals + 1, end - 1),
    });
    at = end;
  }
  return records;
}

/** Later records win over a global header's; an empty value takes one back. */
export function mergePax(
  below: readonly PaxRecord[],
  above: readonly PaxRecord[],
): readonly PaxRecord[] {
  const keys = new Set(above.map((record) => record.key));
  return [...below.filter((record) => !keys.has(record.key)), ...above];
}

/** Gives a header what the records say instead. Returns the key of a malformed one. */
export function applyPax(header: RawHeader, records: readonly PaxRecord[]): string | undefined {
  for (const { key, value } of records) {
    if (value.length === 0) continue;
    switch (key) {
      case "path":
        if (value.includes(0)) return key;
        header.name = value;
        break;
      case "linkpath":
        if (value.includes(0)) return key;
        header.linkName = value;
        break;
      case "size":
      case "uid":
      case "gid": {
        const number = parseDecimal(Buffer.from(value).toString("latin1"));
        if (number === undefined) return key;
        header[key] = number;
        break;
      }
      case "mtime": {
        const time = parseTimeNs(Buffer.from(value).toString("latin1"));
        if (time === undefined) return key;
        header.mtimeNs = time;
        break;
      }
      default: // xattrs and sparse maps are read together; comments, atime and the rest change nothing
    }
  }
  return undefined;
}

/** One record's bytes, with the length that counts itself. */
export function paxRecord(key: string, value: Uint8Array): Buffer {
  const keyBytes = Buffer.from(`${key}=`, "utf8");
  const rest = keyBytes.length + value.length + 2;
  let length = rest + String(rest).length;
  if (String(length).length + rest !== length) length += 1;
  return Buffer.concat([Buffer.from(`${length} `), keyBytes, value, Buffer.of(0x0a)]);
}

/** Extended attributes of the records: star's form, which Docker and GNU tar write, wins over libarchive's. */
export function paxXattrs(records: readonly PaxRecord[]): ReadonlyMap<string, Uint8Array> {
  const found = new Map<string, Uint8Array>();
  for (const { key, value } of records) {
    if (!key.startsWith(LIBARCHIVE_XATTR)) continue;
    const name = unescapeName(key.slice(LIBARCHIVE_XATTR.length));
    if (name !== undefined)
      found.set(name, Buffer.from(Buffer.from(value).toString("latin1"), "base64"));
  }
  for (const { key, value } of records) {
    // Copied: the records are a view into a buffer that is used again.
    if (key.startsWith(SCHILY_XATTR)) found.set(key.slice(SCHILY_XATTR.length), Buffer.from(value));
  }
  return found;
}

export function xattrKey(name: string): string {
  return SCHILY_XATTR + name;
}

function unescapeName(name: string): string | undefined {
  try {
    return decodeURIComponent(name);
  } catch {
    return undefined;
  }
}

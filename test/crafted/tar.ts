/**
 * Archives that no writer would make. Every field can be wrong on purpose: sizes, checksums, records, names. Shares
 * nothing with `src/layer/tar`.
 */
import { execFileSync } from "node:child_process";
import { gzipSync } from "node:zlib";

const BLOCK = 512;

export interface RawEntry {
  readonly name: string | Uint8Array;
  /** Of the header; "0", a file, when absent. */
  readonly flag?: string;
  readonly link?: string;
  readonly mode?: number;
  readonly data?: string | Uint8Array;
  /** What the header says of the size: text into its field, whatever `data` is. */
  readonly size?: string | Uint8Array;
  readonly device?: readonly [major: number, minor: number];
  /** Records of an extended header before it, or that header's bytes. */
  readonly pax?: readonly (readonly [key: string, value: string | Uint8Array])[] | Uint8Array;
  readonly wrongChecksum?: boolean;
  /** Written over the header's block, before the checksum. */
  readonly patch?: (block: Buffer) => void;
}

export const TRAILER: Buffer = Buffer.alloc(2 * BLOCK);

/** The entries and the closing blocks. */
export function archive(...entries: readonly RawEntry[]): Buffer {
  return Buffer.concat([...entries.map(bytesOf), TRAILER]);
}

export const file = (name: string, data = "planted\n"): RawEntry => ({ name, data });
export const directory = (name: string): RawEntry => ({ name, flag: "5", mode: 0o755 });
export const symlink = (name: string, link: string): RawEntry => ({ name, flag: "2", link });
export const hardlink = (name: string, link: string): RawEntry => ({ name, flag: "1", link });

export function bytesOf(entry: RawEntry): Buffer {
  const data = Buffer.from(entry.data ?? "");
  const pax = entry.pax === undefined ? [] : [paxHeader(entry.pax)];
  return Buffer.concat([...pax, header(entry, data.length), padded(data)]);
}

/** One record with its true length. */
export function paxRecord(key: string, value: string | Uint8Array): Buffer {
  const rest = Buffer.concat([Buffer.from(` ${key}=`), Buffer.from(value), Buffer.from("\n")]);
  let length = rest.length + 1;
  while (rest.length + String(length).length !== length)
    length = rest.length + String(length).length;
  return Buffer.concat([Buffer.from(String(length)), rest]);
}

function paxHeader(pax: NonNullable<RawEntry["pax"]>): Buffer {
  const body =
    pax instanceof Uint8Array
      ? Buffer.from(pax)
      : Buffer.concat(pax.map(([key, value]) => paxRecord(key, value)));
  return Buffer.concat([header({ name: "PaxHeaders/x", flag: "x" }, body.length), padded(body)]);
}

function header(entry: RawEntry, size: number): Buffer {
  const block = Buffer.alloc(BLOCK);
  const octal = (value: number, at: number, width: number): void => {
    block.write(`${value.toString(8).padStart(width - 1, "0")}\0`, at, "latin1");
  };
  Buffer.from(entry.name).copy(block, 0, 0, 100);
  octal(entry.mode ?? 0o644, 100, 8);
  octal(0, 108, 8);
  octal(0, 116, 8);
  octal(size, 124, 12);
  if (entry.size !== undefined) Buffer.from(entry.size).copy(block, 124, 0, 12);
  octal(1_600_000_000, 136, 12);
  block.write(" ".repeat(8) + (entry.flag ?? "0"), 148, "latin1");
  Buffer.from(entry.link ?? "").copy(block, 157, 0, 100);
  block.write("ustar\x0000", 257, "latin1");
  octal(entry.device?.[0] ?? 0, 329, 8);
  octal(entry.device?.[1] ?? 0, 337, 8);
  entry.patch?.(block);
  const sum = block.reduce((total, byte) => total + byte, 0);
  const wrong = entry.wrongChecksum === true ? 1 : 0;
  block.write(`${(sum + wrong).toString(8).padStart(6, "0")}\0 `, 148, "latin1");
  return block;
}

function padded(data: Buffer): Buffer {
  return Buffer.concat([data, Buffer.alloc((BLOCK - (data.length % BLOCK)) % BLOCK)]);
}

/** GNU's old sparse header: its file is `realSize` long and stores `pairs`. */
export function gnuSparse(
  name: string,
  realSize: number | bigint,
  pairs: readonly (readonly [offset: number | bigint, length: number])[],
  data: string | Uint8Array,
): RawEntry {
  const number = (block: Buffer, value: bigint, at: number): void => {
    // Base 256: the first bit, then the value, big-endian.
    block.fill(0, at, at + 12);
    block[at] = 0x80;
    block.writeBigUInt64BE(value, at + 4);
  };
  return {
    name,
    flag: "S",
    data,
    patch: (block) => {
      block.write("ustar  \0", 257, "latin1");
      block.fill(0, 329, 500);
      pairs.slice(0, 4).forEach(([offset, length], i) => {
        number(block, BigInt(offset), 386 + i * 24);
        number(block, BigInt(length), 398 + i * 24);
      });
      number(block, BigInt(realSize), 483);
    },
  };
}

export const COMPRESSIONS = ["plain", "gzip", "zstd", "xz"] as const;

export function compressed(tar: Buffer, by: (typeof COMPRESSIONS)[number]): Buffer {
  if (by === "plain") return tar;
  if (by === "gzip") return gzipSync(tar, { level: 1 });
  return execFileSync(by, ["-q", "-c", "-1"], { input: tar, maxBuffer: 1 << 28 });
}

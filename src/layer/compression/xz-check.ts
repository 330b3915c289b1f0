import { createHash } from "node:crypto";
import { crc32 } from "node:zlib";

/** The sum behind each block of an xz stream. */
export interface Check {
  /** Bytes. */
  readonly size: number;
  update(bytes: Uint8Array): void;
  digest(): Uint8Array;
}

/** By the id in the stream's flags; `undefined` for one that is reserved. xz-file-format, 2.1.1.2. */
export function createCheck(id: number): Check | undefined {
  switch (id) {
    case 0:
      return { size: 0, update: () => undefined, digest: () => new Uint8Array(0) };
    case 1:
      return crc32Check();
    case 4:
      return crc64Check();
    case 10: {
      const hash = createHash("sha256");
      return { size: 32, update: (bytes) => void hash.update(bytes), digest: () => hash.digest() };
    }
    default:
      return undefined;
  }
}

function crc32Check(): Check {
  let sum = 0;
  return {
    size: 4,
    update: (bytes) => void (sum = crc32(bytes, sum)),
    digest: () => {
      const out = Buffer.alloc(4);
      out.writeUInt32LE(sum);
      return out;
    },
  };
}

/** ECMA-182, reflected; in halves, since JavaScript's bit operators have 32 bits. */
function crc64Check(): Check {
  const { low, high } = crc64Table();
  let lowSum = -1;
  let highSum = -1;
  return {
    size: 8,
    update: (bytes) => {
      for (let i = 0; i < bytes.length; i++) {
        const at = (lowSum ^ (bytes[i] ?? 0)) & 0xff;
        lowSum = ((lowSum >>> 8) | (highSum << 24)) ^ (low[at] ?? 0);
        highSum = (highSum >>> 8) ^ (high[at] ?? 0);
      }
    },
    digest: () => {
      const out = Buffer.alloc(8);
      out.writeInt32LE(~lowSum, 0);
      out.writeInt32LE(~highSum, 4);
      return out;
    },
  };
}

function crc64Table(): { readonly low: Int32Array; readonly high: Int32Array } {
  const low = new Int32Array(256);
  const high = new Int32Array(256);
  for (let byte = 0; byte < 256; byte++) {
    let sum = BigInt(byte);
    for (let i = 0; i < 8; i++)
      sum = (sum & 1n) === 1n ? (sum >> 1n) ^ 0xc96c5795d7870f42n : sum >> 1n;
    low[byte] = Number(sum & 0xffff_ffffn);
    high[byte] = Number(sum >> 32n);
  }
  return { low, high };
}

/** ECMA-182, reflected: its upper and lower half. */
const POLYNOMIAL_HIGH = 0xc96c5795;
const POLYNOMIAL_LOW = 0xd7870f42;

/** The CRC-64 of .xz files, its bytes in their order there. */
export function crc64(): { update(chunk: Uint8Array): void; digest(): Buffer } {
  const { high: highs, low: lows } = makeTable();
  let high = 0xffffffff;
  let low = 0xffffffff;
  return {
    update(chunk) {
      let h = high;
      let l = low;
      for (let i = 0; i < chunk.length; i++) {
        const index = (l ^ (chunk[i] ?? 0)) & 0xff;
        l = ((l >>> 8) | (h << 24)) ^ (lows[index] ?? 0);
        h = (h >>> 8) ^ (highs[index] ?? 0);
      }
      high = h;
      low = l;
    },
    digest() {
      const bytes = Buffer.alloc(8);
      bytes.writeUInt32LE(~low >>> 0, 0);
      bytes.writeUInt32LE(~high >>> 0, 4);
      return bytes;
    },
  };
}

function makeTable(): { readonly high: Uint32Array; readonly low: Uint32Array } {
  const high = new Uint32Array(256);
  const low = new Uint32Array(256);
  for (let i = 0; i < 256; i++) {
    let h = 0;
    let l = i;
    for (let bit = 0; bit < 8; bit++) {
      const odd = (l & 1) === 1;
      l = (l >>> 1) | (h << 31);
      h >>>= 1;
      if (odd) {
        h ^= POLYNOMIAL_HIGH;
        l ^= POLYNOMIAL_LOW;
      }
    }
    high[i] = h;
    low[i] = l;
  }
  return { high, low };
}

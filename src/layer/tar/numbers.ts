const MAX_SAFE = Number.MAX_SAFE_INTEGER;

/** A string field: up to its first NUL. */
export function fieldBytes(block: Uint8Array, at: number, length: number): Uint8Array {
  let end = at;
  const limit = at + length;
  while (end < limit && block[end] !== 0) end++;
  return block.subarray(at, end);
}

/**
 * A number field: octal digits between spaces and NULs, or GNU's base 256 (first bit set, two's complement).
 * An empty field is 0. `undefined` when it is neither, or beyond 2^53.
 */
export function readNumber(block: Uint8Array, at: number, length: number): number | undefined {
  const first = block[at] ?? 0;
  if ((first & 0x80) !== 0) return readBase256(block, at, length);
  let i = at;
  const end = at + length;
  while (i < end && (block[i] === 0x20 || block[i] === 0)) i++;
  let value = 0;
  for (; i < end; i++) {
    const digit = (block[i] ?? 0) - 0x30;
    if (digit < 0 || digit > 7) break;
    value = value * 8 + digit;
  }
  for (; i < end; i++) if (block[i] !== 0x20 && block[i] !== 0) return undefined;
  return value;
}

function readBase256(block: Uint8Array, at: number, length: number): number | undefined {
  const negative = ((block[at] ?? 0) & 0x40) !== 0;
  // Two's complement: the inverse of a negative number's bits is its absolute value less one.
  const flip = negative ? 0xff : 0;
  let value = ((block[at] ?? 0) ^ flip) & 0x7f;
  for (let i = at + 1; i < at + length; i++) {
    value = value * 256 + ((block[i] ?? 0) ^ flip);
    if (value > MAX_SAFE) return undefined;
  }
  return negative ? -1 - value : value;
}

/** Writes `value` in octal, zero-padded, into `length - 1` digits and a NUL. The caller knows that it fits. */
export function writeOctal(block: Uint8Array, at: number, length: number, value: number): void {
  let rest = value;
  for (let i = at + length - 2; i >= at; i--) {
    block[i] = 0x30 + (rest % 8);
    rest = Math.floor(rest / 8);
  }
}

/** A run of decimal digits, as PAX writes sizes, ids and sparse maps. */
export function parseDecimal(text: string): number | undefined {
  if (!/^[0-9]{1,16}$/.test(text)) return undefined;
  const value = Number(text);
  return value <= MAX_SAFE ? value : undefined;
}

/** PAX's time: seconds with a sign and a fraction of any length, to nanoseconds (rounded down, as the kernel's clock does). */
export function parseTimeNs(text: string): bigint | undefined {
  const match = /^(-?)([0-9]{1,18})(?:\.([0-9]*))?$/.exec(text);
  if (match === null) return undefined;
  const fraction = match[3] ?? "";
  const ns = BigInt(fraction.slice(0, 9).padEnd(9, "0"));
  const magnitude = BigInt(match[2] ?? "0") * 1_000_000_000n + ns;
  if (match[1] === "") return magnitude;
  const cut = /[1-9]/.test(fraction.slice(9)) ? 1n : 0n;
  return -magnitude - cut;
}

/** The reverse of {@link parseTimeNs}, without trailing zeros. */
export function formatTimeNs(ns: bigint): string {
  const magnitude = ns < 0n ? -ns : ns;
  const seconds = magnitude / 1_000_000_000n;
  const fraction = (magnitude % 1_000_000_000n).toString().padStart(9, "0").replace(/0+$/, "");
  return `${ns < 0n ? "-" : ""}${seconds}${fraction === "" ? "" : `.${fraction}`}`;
}

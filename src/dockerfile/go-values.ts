/** The words that Go's strconv.ParseBool reads. */
export function parseBool(text: string): boolean | undefined {
  if (["1", "t", "T", "true", "TRUE", "True"].includes(text)) return true;
  if (["0", "f", "F", "false", "FALSE", "False"].includes(text)) return false;
  return undefined;
}

const UINT32 = 0xffff_ffff;

/** A number of 32 bits without sign, in base 8 or 10. */
export function parseUint32(text: string, base: 8 | 10): number | undefined {
  if (!(base === 8 ? /^[0-7]+$/ : /^[0-9]+$/).test(text)) return undefined;
  const value = Number.parseInt(text, base);
  return value <= UINT32 ? value : undefined;
}

const UNITS: Readonly<Record<string, bigint>> = {
  ns: 1n,
  us: 1_000n,
  "\u00b5s": 1_000n, // micro sign
  "\u03bcs": 1_000n, // Greek letter mu
  ms: 1_000_000n,
  s: 1_000_000_000n,
  m: 60_000_000_000n,
  h: 3_600_000_000_000n,
};
const MAX_INT64 = 2n ** 63n - 1n;
/** More digits cannot change a number of nanoseconds, but could take long to read. */
const MAX_DIGITS = 40;

/** A reason in the words of Go's time.ParseDuration. */
export class DurationError extends Error {}

function invalid(text: string): never {
  throw new DurationError(`time: invalid duration ${JSON.stringify(text)}`);
}

/** In floating point, as Go has it, once the digits that fit are read: the last nanosecond depends on that. */
function fractionOf(digits: string, scale: bigint): bigint {
  let value = 0n;
  let power = 1;
  for (const digit of digits) {
    const next = value * 10n + BigInt(digit);
    if (value > MAX_INT64 / 10n || next > MAX_INT64 + 1n) break;
    value = next;
    power *= 10;
  }
  return BigInt(Math.trunc(Number(value) * (Number(scale) / power)));
}

/** `1h2.5m`, and so on: nanoseconds, negative with a sign. @throws DurationError */
export function parseDuration(text: string): bigint {
  const [, sign = "", body = ""] = /^([-+]?)(.*)$/s.exec(text) ?? [];
  if (body === "0") return 0n;
  if (body === "") invalid(text);
  let rest = body;
  let total = 0n;
  while (rest !== "") {
    const [all = "", whole = "", fraction, unit = ""] =
      /^(\d*)(?:\.(\d*))?([^.\d]*)/.exec(rest) ?? [];
    if (whole === "" && (fraction ?? "") === "") invalid(text);
    if (whole.length > MAX_DIGITS) invalid(text);
    if (unit === "")
      throw new DurationError(`time: missing unit in duration ${JSON.stringify(text)}`);
    const scale = Object.hasOwn(UNITS, unit) ? UNITS[unit] : undefined;
    if (scale === undefined) {
      const names = `${JSON.stringify(unit)} in duration ${JSON.stringify(text)}`;
      throw new DurationError(`time: unknown unit ${names}`);
    }
    total += BigInt(whole === "" ? "0" : whole) * scale;
    const digits = (fraction ?? "").slice(0, MAX_DIGITS);
    if (digits !== "") total += fractionOf(digits, scale);
    if (total > MAX_INT64) invalid(text);
    rest = rest.slice(all.length);
  }
  return sign === "-" ? -total : total;
}

/** A number as Go's ParseFloat reads it, but for the forms that nobody writes; then a unit, a bare `b`, or neither. */
const SIZE = /^(\+?(?:\d+\.?\d*|\.\d+)(?:e[-+]?\d+)?) ?(?:([kmgtp])(?:i?b)?|b)?$/i;

/** Bytes of `64m`, `1.5 GiB`, `100`: docker's go-units, where every unit is a power of 1024. */
export function parseSize(text: string): number | undefined {
  const match = SIZE.exec(text);
  if (match === null) return undefined;
  const [, number = "", unit = ""] = match;
  const power = unit === "" ? 0 : "kmgtp".indexOf(unit.toLowerCase()) + 1;
  const bytes = Math.trunc(Number(number) * 1024 ** power);
  return bytes <= Number.MAX_SAFE_INTEGER ? bytes : undefined;
}

/** As Go's `%q` prints a text, near enough for a message. */
export function quote(text: string): string {
  return JSON.stringify(text);
}

import { TsbuildError } from "../../errors.js";

/**
 * The first program of a step below proot, as machine code: a static one of 600 bytes that runs in every root. It
 * writes "P" and its process id to descriptor 9, hands a seccomp listener on over the socket at descriptor 10 where it
 * is told to, drops the variables that are proot's alone, and becomes the command; or writes "E" and the errno, and
 * ends with 127 or 126. The sources are `starter/x64.s` and `starter/arm64.s`; their first lines say how to translate
 * them.
 */
const X64 = [
  "f0VMRgIBAQAAAAAAAAAAAAIAPgABAAAAeABAAAAAAABAAAAAAAAAAAAAAAAAAAAAAAAAAEAAOAABAAAAAAAAAAEAAAAHAAAA",
  "AAAAAAAAAAAAAEAAAAAAAAAAQAAAAAAAYAIAAAAAAABgEgAAAAAAAAAQAAAAAAAASInjuCcAAAAPBYkFUQEAAEiNNUkBAADo",
  "KwEAAIM9wQEAAAAPhKoAAAC4nQAAAL8mAAAAvgEAAAAx0kUx0kUxwA8FuD0BAAC/AQAAAIs1hgEAAEiNFY8BAABIiRVwAQAA",
  "SI0VYQEAAA8FhcAPiKMAAABBicWJBUYBAABIjQXfAAAASIkF4AAAAEiNBdkAAABIiQXyAAAASI0FEwEAAEiJBfQAAAC4LgAA",
  "AL8KAAAASI01wwAAADHSDwWFwHhXuAMAAABEie8PBbgDAAAAvwoAAAAPBbhIAAAAvwkAAAC+AgAAALoBAAAADwWLDe0AAABI",
  "AwtIjVTLEIsN4wAAAEjHBMoAAAAASIt7EEiNcxi4OwAAAA8F99iJxYkFQwAAAMYFOwAAAEVIjTU0AAAA6BYAAAC/fgAAAIP9",
  "AnUFv38AAAC45wAAAA8FuAEAAAC/CQAAALoFAAAADwXDDx+AAAAAAFAAAAAAAAAAAAAAAAAAAAABAAAAAAAAAAAAAAAAAAAA",
  "AAAAAAAAAAAAAAAAAAAAAAEAAAAAAAAAAAAAAAAAAAAYAAAAAAAAAAAAAAAAAAAAFAAAAAAAAAABAAAAAQAAAAAAAAAAAAAA",
  "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=",
].join("");
const ARM64 = [
  "f0VMRgIBAQAAAAAAAAAAAAIAtwABAAAAeABAAAAAAABAAAAAAAAAAAAAAAAAAAAAAAAAAEAAOAABAAAAAAAAAAEAAAAHAAAA",
  "AAAAAAAAAAAAAEAAAAAAAAAAQAAAAAAAQAIAAAAAAABAEgAAAAAAAAAQAAAAAAAA8wMAkYgVgNIBAADUoQkAECAQALhGAACU",
  "aQ0AECkBQLmpBAA06BSA0sAEgNIhAIDSAgCA0gMAgNIEAIDSAQAA1KgigNIgAIDSgQsAECEAQLnCCgAQowsAEEMEAPkBAADU",
  "4AT4t/QDAKpJCQAQIBEAuYoGABCrBgAQagEA+eEGABArCAD5KRAA+WgagNJAAYDSAgCA0gEAANQgA/i3KAeA0uADFKoBAADU",
  "KAeA0kABgNIBAADUKAOA0iABgNJBAIDSIgCA0gEAANSpBwAQKQFAuWoCQPkpAQqLYg4Ji0JAAJEJBwAQKQFAuV94KfhgCkD5",
  "YWIAkagbgNIBAADU9AMASwECABA0EAC4qQiAUikAADkHAACUwA+A0p8KAHFBAABU4A+A0sgLgNIBAADUCAiA0iABgNKiAIDS",
  "AQAA1MADX9ZQAAAAAAAAAAAAAAAAAAAAAQAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAABAAAAAAAAAAAAAAAAAAAA",
  "GAAAAAAAAAAAAAAAAAAAABQAAAAAAAAAAQAAAAEAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA",
].join("");

/** Where the starter says things. */
export const STARTER_FD = 9;
/** Where it sends the listener. */
export const LISTENER_FD = 10;

/** At the end of the code, four bytes each. */
const WORDS = { filterLength: -32, flags: -16, skip: -12, keep: -8, notify: -4 } as const;

export interface StarterOptions {
  /** Variables at the front of the environment that are not the command's. */
  readonly skip: number;
  /** How many are, behind these. */
  readonly keep: number;
  /** A filter (`struct sock_filter`) whose listener is handed on, and the flags of seccomp(2) that come with it. */
  readonly filter?: { readonly instructions: Uint8Array; readonly flags: number };
}

/** The starter's file. @throws TsbuildError HOST_UNSUPPORTED on other processors than x64 and arm64 */
export function starterFile({ skip, keep, filter }: StarterOptions): Buffer {
  const code = { x64: X64, arm64: ARM64 }[process.arch as string];
  if (code === undefined) {
    const message = `tried to run a step below proot: not on ${process.arch}`;
    throw new TsbuildError("HOST_UNSUPPORTED", message);
  }
  const file = Buffer.from(code, "base64");
  const put = (word: keyof typeof WORDS, value: number): void =>
    void file.writeUInt32LE(value, file.length + WORDS[word]);
  put("skip", skip);
  put("keep", keep);
  if (filter === undefined) return file;
  put("notify", 1);
  put("flags", filter.flags);
  put("filterLength", filter.instructions.length / 8);
  const whole = Buffer.concat([file, filter.instructions]);
  // The program header's sizes, in the file and in memory.
  whole.writeBigUInt64LE(BigInt(whole.length), 96);
  whole.writeBigUInt64LE(BigInt(whole.length + 4096), 104);
  return whole;
}

/** What the starter said so far. */
export interface StarterReport {
  readonly pid?: number;
  /** As in `os.constants.errno`. */
  readonly errno?: number;
}

export function readReport(said: Uint8Array): StarterReport {
  const bytes = Buffer.from(said);
  const report: { pid?: number; errno?: number } = {};
  for (let at = 0; at + 5 <= bytes.length; at += 5) {
    const value = bytes.readInt32LE(at + 1);
    if (bytes[at] === 0x50) report.pid = value;
    else report.errno = value;
  }
  return report;
}

import { createHash } from "node:crypto";
import { TsbuildError } from "../errors.js";

declare const kind: unique symbol;
/** `sha256:` and 64 lower-case hex digits: the hash of a blob as it travels (compressed). */
export type Digest = `sha256:${string}` & { readonly [kind]: "digest" };
/** The same form, for the uncompressed tar of a layer. Not assignable to {@link Digest}. */
export type DiffId = `sha256:${string}` & { readonly [kind]: "diffId" };

const FORM = /^sha256:[0-9a-f]{64}$/;

function check(text: string, what: string): void {
  if (FORM.test(text)) return;
  throw new TsbuildError("USAGE", `"${text.slice(0, 100)}" is not a ${what}`, {
    hint: 'expected "sha256:" and 64 lower-case hexadecimal digits',
  });
}

/** @throws TsbuildError USAGE */
export function parseDigest(text: string): Digest {
  check(text, "digest");
  return text as Digest;
}

/** @throws TsbuildError USAGE */
export function parseDiffId(text: string): DiffId {
  check(text, "diff id");
  return text as DiffId;
}

/** The 64 hex digits alone, as file names use them. */
export function hexOf(digest: Digest | DiffId): string {
  return digest.slice("sha256:".length);
}

/** From the 64 hex digits of a finished sha256. */
export function digestFromHex(hex: string): Digest {
  return parseDigest(`sha256:${hex}`);
}

/** From the 64 hex digits of a finished sha256. */
export function diffIdFromHex(hex: string): DiffId {
  return parseDiffId(`sha256:${hex}`);
}

export function digestOf(bytes: Uint8Array | string): Digest {
  return digestFromHex(createHash("sha256").update(bytes).digest("hex"));
}

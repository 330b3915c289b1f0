import { createPrivateKey, type JsonWebKey, type KeyObject } from "node:crypto";
import { WireReader } from "./wire.js";

const MAGIC = Buffer.from("openssh-key-v1\0", "latin1");
const ARMOR =
  /-----BEGIN OPENSSH PRIVATE KEY-----([A-Za-z0-9+/=\s]*)-----END OPENSSH PRIVATE KEY-----/;
const ED25519_LENGTH = 32; // bytes, of the seed and of the public key

/** The curves by SSH's names for them, with JWK's names and the bytes of a coordinate. */
const CURVES: ReadonlyMap<string, { readonly crv: string; readonly length: number }> = new Map([
  ["nistp256", { crv: "P-256", length: 32 }],
  ["nistp384", { crv: "P-384", length: 48 }],
  ["nistp521", { crv: "P-521", length: 66 }],
]);

/** What keeps a file from being used; the message holds nothing of its content. */
export class UnusableKey extends Error {}

export function isOpensshKey(text: string): boolean {
  return text.includes("-----BEGIN OPENSSH PRIVATE KEY-----");
}

/**
 * A key in OpenSSH's own format (its PROTOCOL.key), which `ssh-keygen` writes.
 * @throws UnusableKey
 */
export function readOpensshKey(text: string): KeyObject {
  try {
    return readKey(text);
  } catch (error) {
    if (error instanceof UnusableKey) throw error;
    // What Node says of a bad key could quote it.
    throw new UnusableKey("it is damaged");
  }
}

function readKey(text: string): KeyObject {
  const body = ARMOR.exec(text)?.[1];
  if (body === undefined) throw new UnusableKey("it is damaged");
  const outer = new WireReader(Buffer.from(body, "base64"));
  if (!outer.take(MAGIC.length).equals(MAGIC)) throw new UnusableKey("it is damaged");
  const cipher = outer.string().toString("latin1");
  outer.string(); // the name of the function that makes the cipher's key
  outer.string(); // and its options
  if (cipher !== "none") throw new UnusableKey("this private key is passphrase protected");
  if (outer.uint32() !== 1) throw new UnusableKey("it holds several keys");
  outer.string(); // the public key, which the private one has too
  const inner = new WireReader(outer.string());
  // Two times the same: a wrong passphrase would make them differ.
  if (inner.uint32() !== inner.uint32()) throw new UnusableKey("it is damaged");
  const jwk = readFields(inner.string().toString("latin1"), inner);
  return createPrivateKey({ key: jwk, format: "jwk" });
}

function readFields(type: string, fields: WireReader): JsonWebKey {
  if (type === "ssh-ed25519") return readEd25519(fields);
  if (type === "ssh-rsa") return readRsa(fields);
  const curve = CURVES.get(/^ecdsa-sha2-(nistp\d+)$/.exec(type)?.[1] ?? "");
  if (curve !== undefined) return readEcdsa(curve, fields);
  // `sk-…`: the key is in a device, and the file says only which one.
  throw new UnusableKey(`a key of the type ${type.replace(/[^\w@.-]/g, "?")} cannot be used`);
}

function readEd25519(fields: WireReader): JsonWebKey {
  const x = fields.string();
  const seed = fields.string().subarray(0, ED25519_LENGTH);
  return { kty: "OKP", crv: "Ed25519", x: base64(x), d: base64(seed) };
}

function readEcdsa(
  { crv, length }: { readonly crv: string; readonly length: number },
  fields: WireReader,
): JsonWebKey {
  fields.string(); // the curve's name once more
  const point = fields.string();
  // 4: both coordinates follow, uncompressed.
  if (point[0] !== 4 || point.length !== 1 + 2 * length) throw new UnusableKey("it is damaged");
  const d = fixed(fields.string(), length);
  const [x, y] = [point.subarray(1, 1 + length), point.subarray(1 + length)];
  return { kty: "EC", crv, x: base64(x), y: base64(y), d: base64(d) };
}

function readRsa(fields: WireReader): JsonWebKey {
  const [n, e, d, qi, p, q] = [0, 1, 2, 3, 4, 5].map(() => number(fields.string()));
  if (n === undefined || e === undefined || d === undefined) throw new UnusableKey("it is damaged");
  if (qi === undefined || p === undefined || q === undefined || p < 2n || q < 2n) {
    throw new UnusableKey("it is damaged");
  }
  const parts = { n, e, d, p, q, dp: d % (p - 1n), dq: d % (q - 1n), qi };
  const jwk = Object.entries(parts).map(([name, value]) => [name, base64(bytesOf(value))]);
  return { kty: "RSA", ...(Object.fromEntries(jwk) as Record<keyof typeof parts, string>) };
}

function number(bytes: Buffer): bigint {
  return bytes.length === 0 ? 0n : BigInt(`0x${bytes.toString("hex")}`);
}

function bytesOf(value: bigint): Buffer {
  const hex = value.toString(16);
  return Buffer.from(hex.length % 2 === 0 ? hex : `0${hex}`, "hex");
}

/** Exactly `length` bytes, big endian. */
function fixed(bytes: Buffer, length: number): Buffer {
  const digits = bytes.subarray(Math.max(0, bytes.length - length));
  return Buffer.concat([Buffer.alloc(length - digits.length), digits]);
}

function base64(bytes: Uint8Array): string {
  return Buffer.from(bytes).toString("base64url");
}

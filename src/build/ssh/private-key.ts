import { createPrivateKey, createPublicKey, sign, type KeyObject } from "node:crypto";
import { open } from "node:fs/promises";
import { TsbuildError, errnoOf } from "../../errors.js";
import { isOpensshKey, readOpensshKey, UnusableKey } from "./openssh-key.js";
import { wireMpint, wireString } from "./wire.js";

/** Bytes that are read of a file, as BuildKit does: no key is as long. */
const MAX_KEY = 100 * 1024;
/** Flags of a request to sign: draft-ietf-sshm-ssh-agent, 3.6.1. */
const RSA_SHA2_256 = 2;
const RSA_SHA2_512 = 4;

/** JWK's curves with SSH's names and the hash that belongs to each (RFC 5656). */
const CURVES: ReadonlyMap<string, { readonly name: string; readonly hash: string }> = new Map([
  ["P-256", { name: "nistp256", hash: "sha256" }],
  ["P-384", { name: "nistp384", hash: "sha384" }],
  ["P-521", { name: "nistp521", hash: "sha512" }],
]);

/** A private key that signs; nothing gives it away. */
export interface PrivateKey {
  /** The public key as SSH writes it: it names the key in requests. */
  readonly publicKey: Buffer;
  /** A signature as SSH writes it; `undefined` for flags that the key's type does not have. */
  sign(data: Uint8Array, flags: number): Buffer | undefined;
}

/**
 * Reads a private key that no passphrase protects: RSA, ECDSA or Ed25519, in OpenSSH's format or in PEM (PKCS#1, PKCS#8, SEC1).
 * @throws TsbuildError CONTEXT_UNREADABLE, whose message holds nothing of the file but its path
 */
export async function readPrivateKey(path: string): Promise<PrivateKey> {
  try {
    return parsePrivateKey(await readText(path));
  } catch (error) {
    // No cause: what Node or OpenSSL say could quote the key.
    const why = error instanceof UnusableKey ? error.message : (errnoOf(error) ?? "it is damaged");
    const hint = why.includes("passphrase")
      ? "start ssh-agent, add the key with ssh-add, and give the agent: --ssh default"
      : "expected an RSA, ECDSA or Ed25519 private key without a passphrase";
    throw new TsbuildError("CONTEXT_UNREADABLE", `tried to read the ssh key ${path}: ${why}`, {
      hint,
    });
  }
}

async function readText(path: string): Promise<string> {
  await using file = await open(path);
  const bytes = Buffer.alloc(MAX_KEY);
  const { bytesRead } = await file.read(bytes, 0, MAX_KEY, 0);
  return bytes.toString("latin1", 0, bytesRead);
}

/** @throws UnusableKey */
export function parsePrivateKey(text: string): PrivateKey {
  const key = isOpensshKey(text) ? readOpensshKey(text) : readPem(text);
  const jwk = createPublicKey(key).export({ format: "jwk" });
  const number = (value: string | undefined): Buffer => Buffer.from(value ?? "", "base64url");
  if (jwk.kty === "RSA") {
    const parts = [wireString("ssh-rsa"), wireMpint(number(jwk.e)), wireMpint(number(jwk.n))];
    return rsaKey(key, Buffer.concat(parts));
  }
  if (jwk.kty === "OKP" && jwk.crv === "Ed25519") {
    const type = "ssh-ed25519";
    const publicKey = Buffer.concat([wireString(type), wireString(number(jwk.x))]);
    return {
      publicKey,
      sign: (data, flags) => (flags === 0 ? signature(type, sign(null, data, key)) : undefined),
    };
  }
  const curve = CURVES.get(jwk.crv ?? "");
  if (jwk.kty !== "EC" || curve === undefined) {
    throw new UnusableKey(`a key of the type ${jwk.crv ?? jwk.kty ?? "?"} cannot be used`);
  }
  const type = `ecdsa-sha2-${curve.name}`;
  const point = Buffer.concat([Buffer.from([4]), number(jwk.x), number(jwk.y)]);
  const publicKey = Buffer.concat([wireString(type), wireString(curve.name), wireString(point)]);
  return ecdsaKey(key, { type, hash: curve.hash, publicKey });
}

/** @throws UnusableKey */
function readPem(text: string): KeyObject {
  if (!/-----BEGIN [A-Z ]*PRIVATE KEY-----/.test(text)) {
    throw new UnusableKey("it is not a private key");
  }
  if (/-----BEGIN ENCRYPTED PRIVATE KEY-----|^Proc-Type:.*ENCRYPTED/m.test(text)) {
    throw new UnusableKey("this private key is passphrase protected");
  }
  try {
    const key = createPrivateKey(text);
    createPublicKey(key).export({ format: "jwk" });
    return key;
  } catch (error) {
    const isUnknown = errnoOf(error) === "ERR_CRYPTO_JWK_UNSUPPORTED_KEY_TYPE";
    throw new UnusableKey(isUnknown ? "keys of its type cannot be used" : "it is damaged");
  }
}

function rsaKey(key: KeyObject, publicKey: Buffer): PrivateKey {
  const algorithms: ReadonlyMap<number, readonly [hash: string, name: string]> = new Map([
    [0, ["sha1", "ssh-rsa"]],
    [RSA_SHA2_256, ["sha256", "rsa-sha2-256"]],
    [RSA_SHA2_512, ["sha512", "rsa-sha2-512"]],
  ]);
  return {
    publicKey,
    sign: (data, flags) => {
      const [hash, name] = algorithms.get(flags) ?? [];
      if (hash === undefined || name === undefined) return undefined;
      return signature(name, sign(hash, data, key));
    },
  };
}

function ecdsaKey(
  key: KeyObject,
  {
    type,
    hash,
    publicKey,
  }: { readonly type: string; readonly hash: string; readonly publicKey: Buffer },
): PrivateKey {
  return {
    publicKey,
    sign: (data, flags) => {
      if (flags !== 0) return undefined;
      const both = sign(hash, data, { key, dsaEncoding: "ieee-p1363" });
      const half = both.length / 2;
      const numbers = [wireMpint(both.subarray(0, half)), wireMpint(both.subarray(half))];
      return signature(type, Buffer.concat(numbers));
    },
  };
}

function signature(type: string, bytes: Buffer): Buffer {
  return Buffer.concat([wireString(type), wireString(bytes)]);
}

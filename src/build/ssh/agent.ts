import type { PrivateKey } from "./private-key.js";
import { WireReader, wireString, wireUint32 } from "./wire.js";

/** Numbers of draft-ietf-sshm-ssh-agent, section 6.1. */
const FAILURE = 5;
const REQUEST_IDENTITIES = 11;
const IDENTITIES_ANSWER = 12;
const SIGN_REQUEST = 13;
const SIGN_RESPONSE = 14;

/** Bytes; OpenSSH's bound of a message. */
export const MAX_MESSAGE = 256 * 1024;

/** A message that says only that the request was refused. */
export const REFUSAL: Buffer = Buffer.from([FAILURE]);

/** What a step may ask of an agent: which keys there are, and signatures. Keys it can neither add nor take away, as in BuildKit. */
export function isAllowed(request: Uint8Array): boolean {
  return request[0] === REQUEST_IDENTITIES || request[0] === SIGN_REQUEST;
}

/** The answer of an agent that has these keys. Never throws: what it does not understand it refuses. */
export function answerRequest(request: Uint8Array, keys: readonly PrivateKey[]): Buffer {
  if (request[0] === REQUEST_IDENTITIES) return identities(keys);
  if (request[0] !== SIGN_REQUEST) return REFUSAL;
  try {
    const reader = new WireReader(request.subarray(1));
    const wanted = reader.string();
    const data = reader.string();
    const flags = reader.uint32();
    const key = keys.find(({ publicKey }) => publicKey.equals(wanted));
    const signature = key?.sign(data, flags);
    if (signature === undefined) return REFUSAL;
    return Buffer.concat([Buffer.from([SIGN_RESPONSE]), wireString(signature)]);
  } catch {
    return REFUSAL;
  }
}

/** Without comments: they often name a person and a machine, and a step needs neither. */
function identities(keys: readonly PrivateKey[]): Buffer {
  const listed = keys.flatMap(({ publicKey }) => [wireString(publicKey), wireString("")]);
  return Buffer.concat([Buffer.from([IDENTITIES_ANSWER]), wireUint32(keys.length), ...listed]);
}

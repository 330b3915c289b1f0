import { createHash } from "node:crypto";
import { readdir, readFile } from "node:fs/promises";
import { join } from "node:path";
import { createSecureContext, rootCertificates, type SecureContext } from "node:tls";
import { errnoOf } from "../errors.js";

/** Where certificates of authorities come from besides Node's own; the values of SSL_CERT_FILE and SSL_CERT_DIR. */
export interface CertificatePlaces {
  readonly certificateFile?: string;
  readonly certificateDirectories?: readonly string[];
}

export interface Certificates {
  readonly pems: readonly string[];
  /** What could not be read, for the message of a failed verification. */
  readonly problems: readonly string[];
}

const PEM =
  /-----BEGIN (?:TRUSTED )?CERTIFICATE-----[\s\S]*?-----END (?:TRUSTED )?CERTIFICATE-----/g;
/** A certificate file is tens of kilobytes, a whole bundle some hundred. */
const MAX_FILE_BYTES = 8 * 1024 * 1024;

/** Reads every certificate once. Like Go's crypto/x509, passes over what is not there; unlike it, remembers that. */
export async function loadCertificates(places: CertificatePlaces): Promise<Certificates> {
  const problems: string[] = [];
  const found = new Map<string, string>();
  const read = async (file: string, named: boolean): Promise<void> => {
    try {
      const text = await readFile(file, "latin1");
      const pems = text.length > MAX_FILE_BYTES ? [] : (text.match(PEM) ?? []);
      if (pems.length === 0 && named) problems.push(`${file} holds no certificate`);
      for (const pem of pems) found.set(createHash("sha256").update(pem).digest("hex"), pem);
    } catch (error) {
      if (named) problems.push(`${file} cannot be read (${errnoOf(error) ?? "unknown reason"})`);
    }
  };
  if (places.certificateFile !== undefined) await read(places.certificateFile, true);
  for (const directory of places.certificateDirectories ?? []) {
    try {
      for (const name of (await readdir(directory)).toSorted()) {
        await read(join(directory, name), false);
      }
    } catch (error) {
      problems.push(`${directory} cannot be read (${errnoOf(error) ?? "unknown reason"})`);
    }
  }
  return { pems: [...found.values()], problems };
}

/** As PEM text. */
export interface ClientCertificate {
  readonly cert: string;
  readonly key: string;
}

/** @param files PEM files */
export async function readClient(files: {
  readonly certificateFile: string;
  readonly keyFile: string;
}): Promise<ClientCertificate> {
  const cert = await readFile(files.certificateFile, "latin1");
  return { cert, key: await readFile(files.keyFile, "latin1") };
}

/** For connections whose other end may be anyone. @throws Error when the client's certificate and key do not fit */
export function trustNobody(client?: ClientCertificate): SecureContext {
  // An empty list, or Node would read its own roots.
  return createSecureContext({ ...client, ca: [] });
}

/** Node's own roots and the given ones. @throws Error when the client's certificate and key do not fit */
export function trustStore(pems: readonly string[], client?: ClientCertificate): SecureContext {
  const own = client ?? {};
  if (pems.length === 0) return createSecureContext(own);
  const context = createSecureContext(own);
  const native: unknown = context.context;
  // Adding to the default store takes 2 ms and keeps NODE_EXTRA_CA_CERTS; the documented `ca` option replaces that
  // store and parses all of Node's roots again, 70 ms.
  if (hasAddCACert(native)) {
    for (const pem of pems) native.addCACert(pem);
    return context;
  }
  return createSecureContext({ ...own, ca: [...rootCertificates, ...pems] });
}

function hasAddCACert(value: unknown): value is { addCACert(pem: string): void } {
  return (
    typeof value === "object" &&
    value !== null &&
    "addCACert" in value &&
    typeof value.addCACert === "function"
  );
}

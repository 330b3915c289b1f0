import { createPrivateKey, X509Certificate } from "node:crypto";
import { readFileSync, statSync } from "node:fs";
import { errnoOf, messageOf, TsbuildError } from "../errors.js";
import { DOCKER_HUB } from "../oci/reference.js";
import type { RegistryOptions } from "../registry/types.js";
import type { BuildOptions } from "./options.js";

type Trust = NonNullable<RegistryOptions["trust"]>;
type HostTrust = Trust extends ReadonlyMap<string, infer T> ? T : never;

const PEM = /-----BEGIN CERTIFICATE-----[\s\S]*?-----END CERTIFICATE-----/g;
/** Bytes; the bundle of all public authorities has some hundred thousand. */
const MAX_FILE_BYTES = 8 * 1024 * 1024;
const HUB_NAMES = ["docker.io", "registry-1.docker.io"];

/**
 * Which authorities are believed of a registry besides all others, and how we show it who we are. Every file is read and
 * looked at before anything is built: a registry that is only pushed to would otherwise tell at the end.
 * @throws TsbuildError USAGE for a file that cannot be read or is not what it is given for
 */
export function registryTrust(
  options: Pick<BuildOptions, "registryCertificates" | "registryClientCertificates">,
): Trust {
  const trust = new Map<string, HostTrust>();
  for (const [given, named] of Object.entries(options.registryCertificates ?? {})) {
    const host = hostOf(given);
    const files = typeof named === "string" ? [named] : named;
    files.forEach(checkAuthorities);
    const before = trust.get(host)?.certificateFiles ?? [];
    trust.set(host, { certificateFiles: [...before, ...files] });
  }
  for (const [given, client] of Object.entries(options.registryClientCertificates ?? {})) {
    const host = hostOf(given);
    checkClient(client);
    trust.set(host, { ...trust.get(host), client });
  }
  return trust;
}

function hostOf(given: string): string {
  const host = given.replace(/^https?:\/\//, "").replace(/\/+$/, "");
  if (host === "" || host.includes("/")) {
    throw new TsbuildError("USAGE", `"${given}" is not a registry`, {
      hint: "expected host[:port], as references to it begin",
    });
  }
  return HUB_NAMES.includes(host) ? DOCKER_HUB : host;
}

function checkAuthorities(file: string): void {
  certificatesOf(file, "certificates");
}

/** The first certificate is ours, others lead from it to an authority. */
function checkClient({ certificateFile, keyFile }: NonNullable<HostTrust["client"]>): void {
  const [own] = certificatesOf(certificateFile, "a client's certificate");
  const text = readText(keyFile, "a client's key");
  let fits: boolean | undefined;
  try {
    fits = own?.checkPrivateKey(createPrivateKey(text));
  } catch (error) {
    // The message of the parser tells nothing of the key.
    const isLocked = /ENCRYPTED/.test(text);
    const hint = isLocked ? "decrypt it: nobody is asked for a passphrase" : undefined;
    throw new TsbuildError("USAGE", `tried to read a client's key: ${keyFile} holds none`, {
      cause: error,
      ...(hint === undefined ? {} : { hint }),
    });
  }
  if (fits === true) return;
  throw new TsbuildError("USAGE", `${keyFile} is not the key of ${certificateFile}`);
}

function certificatesOf(file: string, what: string): readonly X509Certificate[] {
  const pems = readText(file, what).match(PEM) ?? [];
  if (pems.length === 0) {
    throw new TsbuildError("USAGE", `tried to read ${what}: ${file} holds no certificate`, {
      hint: "expected PEM: -----BEGIN CERTIFICATE-----",
    });
  }
  try {
    return pems.map((pem) => new X509Certificate(pem));
  } catch (error) {
    throw new TsbuildError(
      "USAGE",
      `tried to read ${what}: ${file} holds a damaged certificate: ${messageOf(error)}`,
      { cause: error },
    );
  }
}

function readText(file: string, what: string): string {
  try {
    const { size } = statSync(file);
    if (size <= MAX_FILE_BYTES) return readFileSync(file, "latin1");
  } catch (error) {
    const why = `cannot be read (${errnoOf(error) ?? "unknown reason"})`;
    throw new TsbuildError("USAGE", `tried to read ${what}: ${file} ${why}`, { cause: error });
  }
  throw new TsbuildError("USAGE", `tried to read ${what}: ${file} is too large to be PEM`);
}

import { execFile } from "node:child_process";
import { mkdir, readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { promisify } from "node:util";

const run = promisify(execFile);
const EC_KEY = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"];

function openssl(...lines: readonly (readonly string[])[]): Promise<unknown> {
  return run("openssl", lines.flat());
}

export interface Authority {
  /** PEM file. */
  readonly certificateFile: string;
  /** A key and a certificate for the given names, signed by this authority. */
  issue(name: string, altNames: string): Promise<Issued>;
}

export interface Issued {
  readonly certificateFile: string;
  readonly keyFile: string;
  readonly cert: Buffer;
  readonly key: Buffer;
}

/** Makes a certificate authority with openssl in a directory. `altNames` are like `DNS:localhost,IP:127.0.0.1`. */
export async function makeAuthority(
  directory: string,
  name = "test authority",
): Promise<Authority> {
  await mkdir(directory, { recursive: true });
  const certificateFile = join(directory, "ca.pem");
  const caKey = join(directory, "ca.key");
  await openssl(
    ["req", "-x509", ...EC_KEY, "-days", "2", "-subj", `/CN=${name}`],
    ["-keyout", caKey, "-out", certificateFile, "-addext", "basicConstraints=critical,CA:TRUE"],
  );
  return {
    certificateFile,
    async issue(commonName, altNames) {
      const base = join(directory, commonName.replace(/[^a-z0-9.-]/gi, "_"));
      const [keyFile, request, issuedFile, extensions] = [
        `${base}.key`,
        `${base}.csr`,
        `${base}.pem`,
        `${base}.ext`,
      ];
      await writeFile(extensions, `subjectAltName=${altNames}\n`);
      await openssl([
        "req",
        ...EC_KEY,
        "-subj",
        `/CN=${commonName}`,
        "-keyout",
        keyFile,
        "-out",
        request,
      ]);
      await openssl(
        ["x509", "-req", "-days", "2", "-in", request, "-CA", certificateFile, "-CAkey", caKey],
        ["-CAcreateserial", "-extfile", extensions, "-out", issuedFile],
      );
      return {
        certificateFile: issuedFile,
        keyFile,
        cert: await readFile(issuedFile),
        key: await readFile(keyFile),
      };
    },
  };
}

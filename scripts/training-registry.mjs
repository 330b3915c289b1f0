// A registry in memory for the build that V8's code is made of (scripts/build.mjs): it has one base, takes whatever is
// pushed, and says its port. Ends with its standard input.
import { createHash } from "node:crypto";
import { createServer } from "node:http";
import { setTimeout as sleep } from "node:timers/promises";
import { gzipSync } from "node:zlib";

const digestOf = (bytes) => `sha256:${createHash("sha256").update(bytes).digest("hex")}`;
const blobs = new Map();
const keep = (bytes) => {
  blobs.set(digestOf(bytes), bytes);
  return { digest: digestOf(bytes), size: bytes.length };
};

/** One file and the directory that it is in (POSIX.1-2017, pax: ustar). */
function archive() {
  const passwd = Buffer.from("root:x:0:0:root:/root:/bin/sh\n");
  const content = Buffer.concat([passwd, Buffer.alloc(512 - passwd.length)]);
  const entries = [entry("etc/", "5", 0o755, 0), entry("etc/passwd", "0", 0o644, passwd.length)];
  return Buffer.concat([...entries, content, Buffer.alloc(1024)]);
}

function entry(name, type, mode, size) {
  const octal = (value, digits) => `${value.toString(8).padStart(digits, "0")}\0`;
  const numbers = [octal(mode, 7), octal(0, 7), octal(0, 7), octal(size, 11), octal(0, 11)];
  const header = Buffer.alloc(512);
  header.write(`${name.padEnd(100, "\0")}${numbers.join("")}        ${type}`, "latin1");
  header.write("ustar\x0000", 257, "latin1");
  const sum = header.reduce((total, byte) => total + byte, 0);
  header.write(`${sum.toString(8).padStart(6, "0")}\0 `, 148, "latin1");
  return header;
}

const OCI = "application/vnd.oci.image";
const layer = archive();
const config = {
  architecture: { x64: "amd64" }[process.arch] ?? process.arch,
  os: "linux",
  config: { Env: ["PATH=/usr/bin:/bin"], Cmd: ["sh"] },
  rootfs: { type: "layers", diff_ids: [digestOf(layer)] },
  history: [{ created: "1970-01-01T00:00:00Z", created_by: "base" }],
};
const manifest = {
  schemaVersion: 2,
  mediaType: `${OCI}.manifest.v1+json`,
  config: { mediaType: `${OCI}.config.v1+json`, ...keep(Buffer.from(JSON.stringify(config))) },
  layers: [{ mediaType: `${OCI}.layer.v1.tar+gzip`, ...keep(gzipSync(layer)) }],
};
const base = Buffer.from(JSON.stringify(manifest));

/** Milliseconds until one request is answered behind the other: what is done about one answer is over at the next. */
const TURN = 100;
let turn = Promise.resolve();

const server = createServer((request, response) => {
  request.resume().on("end", () => {
    turn = turn.then(() => sleep(TURN)).then(() => answer(request, response));
  });
});

function answer({ method, url }, response) {
  const say = (status, headers = {}, body = "") =>
    response.writeHead(status, headers).end(method === "HEAD" ? undefined : body);
  const type = { "content-type": manifest.mediaType, "docker-content-digest": digestOf(base) };
  const blob = blobs.get(/sha256:[0-9a-f]{64}$/.exec(url)?.[0]);
  const length = { "content-length": String((blob ?? base).length) };
  if (url === "/v2/") say(200);
  else if (method === "POST") say(202, { location: "/v2/new/blobs/uploads/1" });
  else if (method === "PUT" || method === "PATCH") say(201, { location: url });
  else if (url.startsWith("/v2/base/manifests/")) say(200, { ...type, ...length }, base);
  else if (blob !== undefined) say(200, length, blob);
  else say(404);
}

server.listen(0, "127.0.0.1", () => console.log(server.address().port));
process.stdin.resume().on("end", () => process.exit());

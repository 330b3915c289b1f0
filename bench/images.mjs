// Looks at what a build pushed: an image that is wrong is no result, however fast it came.
import { execFile } from "node:child_process";
import { createHash } from "node:crypto";
import { createReadStream, createWriteStream, readdirSync, rmSync } from "node:fs";
import { join } from "node:path";
import { pipeline } from "node:stream/promises";
import { promisify } from "node:util";
import { changedSource } from "./workloads/generate.mjs";

const run = promisify(execFile);
const MANIFESTS = [
  "application/vnd.oci.image.manifest.v1+json",
  "application/vnd.docker.distribution.manifest.v2+json",
].join(",");

/** The layers of an image in a registry, as descriptors, and its configuration. */
export async function inspect(host, repository, tag = "latest") {
  const manifest = await get(`http://${host}/v2/${repository}/manifests/${tag}`);
  const config = await get(`http://${host}/v2/${repository}/blobs/${manifest.config.digest}`);
  return { layers: manifest.layers, config };
}

async function get(url) {
  const response = await fetch(url, { headers: { accept: MANIFESTS } });
  if (!response.ok) throw new Error(`${url}: ${response.status}`);
  return response.json();
}

/**
 * Compares an image with what its Dockerfile says: its configuration, the layers of its base, and, where `deep` asks for
 * it, the files of its own layers.
 * @throws Error that names what is wrong
 */
export async function verify(image, expected, { host, repository, dir, deep }) {
  const { layers, config } = image;
  for (const [key, value] of Object.entries(expected.config)) {
    same(`config.${key}`, config.config[key], value);
  }
  for (const variable of expected.env ?? []) {
    if (!config.config.Env.includes(variable)) throw new Error(`no ${variable} in config.Env`);
  }
  const base = expected.base.layers;
  same(
    "the base's layers",
    layers.slice(0, base.length).map((layer) => layer.digest),
    base.map((layer) => layer.digest),
  );
  if (!deep) return;
  const own = layers.slice(base.length);
  const paths = await download(host, repository, own, dir);
  try {
    await verifyFiles(paths, expected);
  } finally {
    for (const path of paths) rmSync(path, { force: true });
  }
}

function same(what, found, wanted) {
  const [a, b] = [found, wanted].map((value) => JSON.stringify(value));
  if (a !== b) throw new Error(`${what} is ${a}, not ${b}`);
}

async function download(host, repository, layers, dir) {
  const paths = [];
  for (const [i, { digest }] of layers.entries()) {
    const path = join(dir, `verify-${i}`);
    const { body } = await fetch(`http://${host}/v2/${repository}/blobs/${digest}`);
    const hash = createHash("sha256");
    await pipeline(
      body,
      async function* (source) {
        for await (const piece of source) {
          hash.update(piece);
          yield piece;
        }
      },
      createWriteStream(path),
    );
    same("a blob's digest", `sha256:${hash.digest("hex")}`, digest);
    paths.push(path);
  }
  return paths;
}

/** The files below the workload's own directory: how many, and what is in some of them. */
async function verifyFiles(paths, { below, files, contents }) {
  const owner = new Map();
  for (const path of paths) {
    const { stdout } = await run("tar", ["-tf", path], { maxBuffer: 1 << 28 });
    for (const line of stdout.split("\n")) {
      const name = line.replace(/^\.?\//, "");
      if (name !== "" && !name.endsWith("/")) owner.set(name, { path, line });
    }
  }
  const own = [...owner.keys()].filter((name) => name.startsWith(below));
  same(`the number of files in ${below}`, own.length, files);
  for (const [name, check] of Object.entries(contents)) {
    const { path, line } = owner.get(name) ?? {};
    if (path === undefined) throw new Error(`there is no ${name}`);
    const most = 256 << 20; // bytes: the largest file of W4 has 128 MiB
    const { stdout } = await run("tar", ["-xOf", path, line], {
      encoding: "buffer",
      maxBuffer: most,
    });
    if (!(await check(stdout))) throw new Error(`${name} has other contents`);
  }
}

/** What has to be in the image of a workload, built from the files in `context` on `base`; after a change in `round`. */
export function expectation(workload, { context, base, short, round }) {
  const text = (wanted) => (bytes) => bytes.toString() === wanted;
  const file = (name) => (bytes) => equal(join(context, name), bytes);
  const is = { base, config: {} };
  switch (workload) {
    case "W1":
      return {
        ...is,
        config: { Cmd: ["cat", "/hello.txt"] },
        env: ["A=1", "B=two"],
        below: "hello.txt",
        files: 1,
        contents: { "hello.txt": text("hello\n") },
      };
    case "W2": {
      const steps = Array.from({ length: 20 }, (_, i) => `${i}\n`).join("");
      const contents = { "etc/steps": text(steps), "srv/step19/f3": text("step 19 file 3\n") };
      return {
        ...is,
        config: { Cmd: ["cat", "/etc/steps"] },
        below: "srv/",
        files: 60,
        contents,
      };
    }
    case "W3": {
      const name = "node_modules/pkg-0005/lib/file3.map";
      const contents = { [`app/${name}`]: file(`ctx/${name}`) };
      const config = { Cmd: ["ls", "/app"], WorkingDir: "/app" };
      return { ...is, config, below: "app/", files: short ? 500 : 50_000, contents };
    }
    case "W4": {
      const names = readdirSync(join(context, "data")).slice(0, 2);
      const contents = Object.fromEntries(
        names.map((name) => [`data/${name}`, file(`data/${name}`)]),
      );
      return { ...is, config: { Cmd: ["ls", "/data"] }, below: "data/", files: 8, contents };
    }
    case "W5": {
      const made = (name) => (bytes) =>
        short ? bytes.toString() === `${name}\n` : /^[0-9a-f]{32000}$/.test(bytes.toString());
      const contents = { "out/a": made("a"), "out/b": made("b") };
      return { ...is, config: { Cmd: ["ls", "/out"] }, below: "out/", files: 2, contents };
    }
    case "W6": {
      const path = "usr/local/bin/server";
      return {
        ...is,
        config: { User: "1000:1000", Entrypoint: [`/${path}`], ExposedPorts: { "8080/tcp": {} } },
        env: ["PORT=8080"],
        below: path,
        files: 1,
        contents: { [path]: file("server") },
      };
    }
    default:
      return nodeApp(is, workload === "W9" ? changedSource(round) : "exports.v42 = 42;\n/*", short);
  }
}

function nodeApp(is, source, short) {
  const modules = (short ? 20 : 500) * 20;
  const built = short ? 2 : 51;
  return {
    ...is,
    config: { User: "nobody", WorkingDir: "/app", Cmd: ["node", "dist/bundle.js"] },
    env: ["NODE_ENV=production"],
    below: "app/",
    files: modules + built + 1,
    contents: { "app/dist/bundle.js": (bytes) => bytes.toString().includes(source) },
  };
}

async function equal(path, bytes) {
  const hash = createHash("sha256");
  await pipeline(createReadStream(path), hash);
  return hash.digest().equals(createHash("sha256").update(bytes).digest());
}

/** Compressed bytes of the layers above the base. */
export function ownBytes(image, base) {
  return image.layers.slice(base.layers.length).reduce((sum, layer) => sum + layer.size, 0);
}

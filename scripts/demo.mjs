// Makes a busybox base from Debian's package, serves it from a registry on loopback, builds fixtures/demo from it into
// an OCI layout, and shows what came out: digest, configuration, layers, files. `--keep DIR` leaves the layout there.
import { spawn } from "node:child_process";
import { cpSync, readFileSync } from "node:fs";
import { mkdtemp } from "node:fs/promises";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { gunzipSync } from "node:zlib";
import { loadTypeScript } from "./load-ts.mjs";

const top = dirname(dirname(fileURLToPath(import.meta.url)));
const support = await loadTypeScript(join(top, "test/support/services-for-scripts.ts"));
const [flag, keep] = process.argv.slice(2);
if (flag !== undefined && (flag !== "--keep" || keep === undefined)) {
  console.error("usage: demo [--keep DIR]");
  process.exit(64);
}
process.exitCode = await main();

async function main() {
  const work = await mkdtemp(join(tmpdir(), "tsbuild-demo-"));
  const registry = await support.startRegistry();
  try {
    await support.pushBase(await support.busyboxBase(), registry, "library/busybox:latest");
    const layout = join(work, "image");
    const code = await build(registry.host, layout, join(work, "store"));
    if (code !== 0) return code;
    show(layout);
    if (keep !== undefined) cpSync(layout, keep, { recursive: true });
    return 0;
  } finally {
    await registry[Symbol.asyncDispose]();
    await support.removeTree(work);
  }
}

function build(host, layout, store) {
  const context = join(top, "fixtures/demo");
  const source = ["--context", context, "--dockerfile", join(context, "Dockerfile")];
  const registry = ["--registry-mirror", host, "--insecure-registry", host];
  const target = ["--no-push", "--oci-layout-path", layout, "--store", store];
  const args = [...source, ...registry, ...target];
  console.log(`$ tsbuild ${args.join(" ")}\n`);
  return new Promise((done, fail) => {
    const child = spawn(process.execPath, [join(top, "bin/tsbuild.js"), ...args], {
      stdio: ["ignore", "inherit", "inherit"],
    });
    child.once("error", fail);
    child.once("close", (code) => done(code ?? 1));
  });
}

function show(layout) {
  const blob = (descriptor) => readFileSync(join(layout, "blobs", ...descriptor.digest.split(":")));
  const [descriptor] = JSON.parse(readFileSync(join(layout, "index.json"), "utf8")).manifests;
  const manifest = JSON.parse(blob(descriptor));
  const { config, history, os, architecture } = JSON.parse(blob(manifest.config));
  console.log(`\nDigest   ${descriptor.digest}\nPlatform ${os}/${architecture}`);
  console.log(`Config   ${JSON.stringify(config, null, 2)}`);
  const steps = history.filter((step) => step.empty_layer !== true);
  for (const [i, layer] of manifest.layers.entries()) {
    console.log(`\nLayer ${layer.digest} (${layer.size} bytes)\n  ${steps[i]?.created_by ?? ""}`);
    const entries = support.readTar(gunzipSync(blob(layer)));
    for (const entry of entries.slice(0, 12)) console.log(`  ${line(entry)}`);
    if (entries.length > 12) console.log(`  … and ${entries.length - 12} more`);
    const page = entries.find((entry) => entry.name.endsWith("index.html"));
    if (page !== undefined) console.log(`\n${page.name} holds:\n${page.data.toString()}`);
  }
}

function line({ name, type, mode, uid, gid, data }) {
  const bits = mode.toString(8).padStart(4, "0");
  return `${type.padEnd(8)} ${bits} ${uid}:${gid} ${String(data.length).padStart(8)} ${name}`;
}

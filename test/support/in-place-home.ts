/**
 * What the executor image has below /kaniko, for tests of the driver that rewrites "/": node with a loader and libraries
 * of its own, and a checkout.
 */
import { cp, mkdir, mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { existsSync } from "node:fs";
import { join } from "node:path";
import { cached, hostArchitecture } from "./bases.js";
import { extractPackage } from "./bases-debian.js";
import { mustRun } from "./tools.js";

/** Where everything is, in a container. */
export const IN_PLACE_HOME = "/kaniko";
/** What starts the command there. */
export const IN_PLACE_COMMAND = [
  `${IN_PLACE_HOME}/bin/node`,
  `${IN_PLACE_HOME}/app/bin/tsbuild.js`,
] as const;

const LOADER = "ld-linux-x86-64.so.2";
const LIBRARIES = ["libc.so.6", "libdl.so.2", "libm.so.6", "libpthread.so.0", "libresolv.so.2"];
const COMPILER_LIBRARIES = ["libgcc_s.so.1", "libstdc++.so.6"];
const PACKAGES = ["koffi", "@koromix", "@cloudpss"];

/** Why there cannot be one here. */
export function lacksInPlaceHome(): string | undefined {
  return process.arch === "x64" ? undefined : "the relocated node is made for x64 alone";
}

/** A directory with bin/node, bin/busybox and lib; made once. */
async function relocatedNode(): Promise<string> {
  return cached(`in-place-node-${process.version}`, async (home) => {
    const root = join(home, "root");
    const architecture = hostArchitecture();
    await extractPackage(home, root, { name: "patchelf,busybox-static", architecture });
    await mkdir(join(home, "bin"));
    await mkdir(join(home, "lib"));
    for (const name of [...LIBRARIES, LOADER]) {
      await cp(join(root, "lib/x86_64-linux-gnu", name), join(home, "lib", name), {
        dereference: true,
      });
    }
    for (const name of COMPILER_LIBRARIES) {
      const places = ["usr/lib/x86_64-linux-gnu", "lib/x86_64-linux-gnu"];
      const found = places.map((place) => join(root, place, name)).find(existsSync);
      await cp(String(found), join(home, "lib", name), { dereference: true });
    }
    await withoutSystemFiles(join(home, "lib", LOADER));
    const node = join(home, "bin/node");
    await cp(process.execPath, node, { dereference: true });
    await cp(join(root, "bin/busybox"), join(home, "bin/busybox"));
    await mustRun(join(root, "usr/bin/patchelf"), [
      "--set-interpreter",
      `${IN_PLACE_HOME}/lib/${LOADER}`,
      "--force-rpath",
      "--set-rpath",
      `${IN_PLACE_HOME}/lib`,
      node,
    ]);
    await rm(root, { recursive: true });
  });
}

/** An image's /etc/ld.so.preload and cache must say nothing to our own loader: it reads files of the same length elsewhere. */
async function withoutSystemFiles(loader: string): Promise<void> {
  let bytes = (await readFile(loader)).toString("latin1");
  bytes = bytes.replaceAll("/etc/ld.so.preload", "/kaniko/ld.so.prel");
  bytes = bytes.replaceAll("/etc/ld.so.cache", "/kaniko/ld.cache");
  await writeFile(loader, Buffer.from(bytes, "latin1"), { mode: 0o755 });
}

/** A new directory below `dir` that is a builder's whole root, with that checkout (its `dist` as it is) in it. */
export async function inPlaceRoot(dir: string, checkout: string): Promise<string> {
  const root = await mkdtemp(join(dir, "builder-"));
  const home = join(root, IN_PLACE_HOME);
  const app = join(home, "app");
  await mkdir(app, { recursive: true });
  const node = await relocatedNode();
  // Links where they can be: the program is a hundred megabytes.
  for (const part of ["bin", "lib"]) await mustRun("cp", ["-a", join(node, part), home]);
  for (const part of ["bin", "dist", "package.json"]) {
    await cp(join(checkout, part), join(app, part), { recursive: true });
  }
  for (const name of PACKAGES) {
    const from = join(checkout, "node_modules", name);
    if (existsSync(from)) {
      await cp(from, join(app, "node_modules", name), { recursive: true, dereference: true });
    }
  }
  const empty = ["tmp", "var", "run", "root", "etc", "workspace"];
  for (const name of empty) await mkdir(join(root, name));
  // As in the executor image: what a runtime mounts at /var/run is then at /run.
  await mustRun("ln", ["-s", "/run", join(root, "var/run")]);
  await mustRun("chmod", ["755", root]);
  await mustRun("chmod", ["1777", join(root, "tmp")]);
  return root;
}

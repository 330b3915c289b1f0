import { type ChildProcessByStdio, spawn } from "node:child_process";
import { mkdtempSync, rmSync } from "node:fs";
import { join } from "node:path";
import type { Readable } from "node:stream";
import { fileURLToPath } from "node:url";
import { buildSync } from "esbuild";

const PROJECT = fileURLToPath(new URL("../..", import.meta.url));

/** Bundles a module that imports `./src/…` of this project; gives the file. */
export function bundleScript(source: string, directory: string): string {
  const file = join(directory, "script.mjs");
  buildSync({
    stdin: { contents: source, resolveDir: PROJECT, loader: "ts" },
    outfile: file,
    bundle: true,
    platform: "node",
    format: "esm",
    target: "node20",
    banner: {
      js: 'import { createRequire as r } from "node:module"; const require = r(import.meta.url);',
    },
  });
  return file;
}

/** Runs a TypeScript module in a process of its own. */
export function startScript(
  source: string,
  ...args: readonly string[]
): ChildProcessByStdio<null, Readable, null> {
  const directory = mkdtempSync(join(PROJECT, "node_modules/.tsbuild-script-"));
  const file = bundleScript(source, directory);
  const child = spawn(process.execPath, [file, ...args], {
    stdio: ["ignore", "pipe", "inherit"],
  });
  child.once("exit", () => rmSync(directory, { recursive: true, force: true }));
  return child;
}

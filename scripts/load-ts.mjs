// Lets a script use TypeScript modules of the tests (registries, bases) without a second copy in JavaScript.
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { pathToFileURL } from "node:url";
import { build } from "esbuild";

/** Bundles the module at `path` and imports the result. */
export async function loadTypeScript(path) {
  const dir = mkdtempSync(join(tmpdir(), "tsbuild-load-"));
  try {
    const outfile = join(dir, "module.mjs");
    await build({
      entryPoints: [path],
      outfile,
      bundle: true,
      format: "esm",
      platform: "node",
      target: "node20",
      logLevel: "warning",
    });
    return await import(pathToFileURL(outfile).href);
  } finally {
    rmSync(dir, { recursive: true, force: true });
  }
}

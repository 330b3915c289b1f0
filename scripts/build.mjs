// Bundles src into dist: one file per entry with shared chunks, so that a start reads few files.
import { spawnSync } from "node:child_process";
import { rmSync } from "node:fs";
import { build } from "esbuild";

rmSync("dist", { recursive: true, force: true });
await build({
  // Everything that is started by its path: the command, the library's doors, the processes and the threads.
  entryPoints: [
    "src/cli/main.ts",
    "src/index.ts",
    "src/dockerfile/index.ts",
    "src/registry/index.ts",
    "src/child.ts",
    "src/worker/sandbox/init.ts",
    "src/worker/root-thread.ts",
  ],
  outbase: "src",
  outdir: "dist",
  bundle: true,
  splitting: true,
  format: "esm",
  platform: "node",
  target: "node20",
  external: ["koffi", "@cloudpss/zstd"],
  // CommonJS packages inside an ES module need a `require`.
  banner: {
    js: 'import { createRequire as __createRequire } from "node:module"; const require = __createRequire(import.meta.url);',
  },
  logLevel: "warning",
});
if (process.argv.includes("--types")) {
  const tsc = spawnSync("node_modules/.bin/tsc", ["-p", "tsconfig.json", "--emitDeclarationOnly"], {
    stdio: "inherit",
  });
  process.exitCode = tsc.status ?? 1;
}

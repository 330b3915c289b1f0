// Bundles src into dist: one file per entry with shared chunks, so that a start reads few files.
import { spawnSync } from "node:child_process";
import { createRequire } from "node:module";
import { renameSync, rmSync } from "node:fs";
import { build } from "esbuild";

const require = createRequire(import.meta.url);
/**
 * A CommonJS package that is imported when first needed becomes a chunk of its own, and such a chunk has a default
 * export alone. This puts a module with the package's names between the two.
 */
const namesOfLazyPackages = {
  name: "names-of-lazy-packages",
  setup(plugins) {
    plugins.onResolve({ filter: /^[^./]/ }, ({ path, kind }) =>
      kind === "dynamic-import" && LAZY_COMMONJS.includes(path)
        ? { path, namespace: "lazy" }
        : undefined,
    );
    plugins.onLoad({ filter: /.*/, namespace: "lazy" }, ({ path }) => ({
      contents: `export { default, ${namesOf(path).join(", ")} } from ${JSON.stringify(path)};`,
      resolveDir: process.cwd(),
    }));
  },
};
const namesOf = (path) =>
  Object.keys(require(path)).filter(
    (name) => /^[A-Za-z_$][\w$]*$/.test(name) && name !== "default",
  );
const LAZY_COMMONJS = ["undici", "fast-glob"];

// Beside, and then in the place of the old one: a command that is running meanwhile finds its files.
const fresh = `node_modules/.tsbuild-dist-${process.pid}`;
await build({
  // Everything that is started by its path: the command, the library's doors, the processes and the threads.
  entryPoints: [
    "src/cli/main.ts",
    "src/index.ts",
    "src/dockerfile/index.ts",
    "src/registry/index.ts",
    "src/child.ts",
    "src/worker/sandbox/init.ts",
    "src/worker/sandbox/owner-thread.ts",
    "src/worker/sandbox/proot-init.ts",
    "src/worker/root-thread.ts",
  ],
  outbase: "src",
  outdir: fresh,
  bundle: true,
  splitting: true,
  format: "esm",
  platform: "node",
  target: "node20",
  plugins: [namesOfLazyPackages],
  external: ["koffi", "@cloudpss/zstd"],
  // CommonJS packages inside an ES module need a `require`.
  banner: {
    js: 'import { createRequire as __createRequire } from "node:module"; const require = __createRequire(import.meta.url);',
  },
  logLevel: "warning",
});
rmSync("dist", { recursive: true, force: true });
renameSync(fresh, "dist");
if (process.argv.includes("--types")) {
  const tsc = spawnSync("node_modules/.bin/tsc", ["-p", "tsconfig.json", "--emitDeclarationOnly"], {
    stdio: "inherit",
  });
  process.exitCode = tsc.status ?? 1;
}

// Bundles src into dist, so that a start reads few files.
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
      contents: path === "undici" ? UNDICI : namesAgain(path),
      resolveDir: process.cwd(),
    }));
  },
};
const namesAgain = (path) => {
  const names = Object.keys(require(path)).filter(
    (name) => /^[A-Za-z_$][\w$]*$/.test(name) && name !== "default",
  );
  return `export { default, ${names.join(", ")} } from ${JSON.stringify(path)};`;
};
/** What src/internal/http.ts takes of it: the whole has fetch, WebSocket and caches besides, and loads as Node's own copy. */
const UNDICI = `
  import Agent from "undici/lib/dispatcher/agent.js";
  import Dispatcher from "undici/lib/dispatcher/dispatcher.js";
  import ProxyAgent from "undici/lib/dispatcher/proxy-agent.js";
  import connect from "undici/lib/api/api-connect.js";
  import request from "undici/lib/api/api-request.js";
  // As the package's own first module does.
  Object.assign(Dispatcher.prototype, { connect, request });
  export { Agent, ProxyAgent };
`;
const LAZY_COMMONJS = ["undici", "fast-glob"];

// Beside, and then in the place of the old one: a command that is running meanwhile finds its files.
const fresh = `node_modules/.tsbuild-dist-${process.pid}`;
const common = {
  outbase: "src",
  outdir: fresh,
  bundle: true,
  platform: "node",
  target: "node20",
  external: ["koffi", "@cloudpss/zstd"],
  logLevel: "warning",
};
// What people start or import: what is imported when first needed is a chunk of its own.
await build({
  ...common,
  entryPoints: [
    "src/cli/main.ts",
    "src/index.ts",
    "src/dockerfile/index.ts",
    "src/registry/index.ts",
  ],
  splitting: true,
  format: "esm",
  plugins: [namesOfLazyPackages],
  // CommonJS packages inside an ES module need a `require`.
  banner: {
    js: 'import { createRequire as __createRequire } from "node:module"; const require = __createRequire(import.meta.url);',
  },
});
/** A thread that hashes is started from the same file, and needs none of the other's work. */
const aFileOfItsOwn = {
  name: "a-file-of-its-own",
  setup: (plugins) =>
    plugins.onResolve({ filter: /^\.\/root-work\.js$/ }, () => ({
      path: "./root-work.cjs",
      external: true,
    })),
};
// The processes and threads that these start by their path. CommonJS, one file each: Node starts in half the time when
// it need not load its machinery for ES modules, and the first process of a step is started for every RUN.
await build({
  ...common,
  entryPoints: [
    "src/child.ts",
    "src/git-remote.ts",
    "src/worker/sandbox/init.ts",
    "src/worker/sandbox/owner-thread.ts",
    "src/worker/sandbox/proot-init.ts",
    "src/worker/root-thread.ts",
    "src/worker/root-work.ts",
  ],
  format: "cjs",
  outExtension: { ".js": ".cjs" },
  plugins: [aFileOfItsOwn],
  // An import() would load that machinery after all.
  supported: { "dynamic-import": false },
  define: { "import.meta.url": "__fileUrl" },
  banner: { js: 'const __fileUrl = require("node:url").pathToFileURL(__filename).href;' },
});
rmSync("dist", { recursive: true, force: true });
renameSync(fresh, "dist");
if (process.argv.includes("--types")) {
  const tsc = spawnSync("node_modules/.bin/tsc", ["-p", "tsconfig.json", "--emitDeclarationOnly"], {
    stdio: "inherit",
  });
  process.exitCode = tsc.status ?? 1;
}

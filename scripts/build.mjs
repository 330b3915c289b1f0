// Bundles src into dist, so that a start reads few files.
import { spawnSync } from "node:child_process";
import { createRequire } from "node:module";
import { existsSync, renameSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
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
/** HTTP/2 is never offered (src/internal/http.ts), and what Node has of it, and of HTTP itself, takes long to load. */
const http1Alone = {
  name: "http-1-alone",
  setup(plugins) {
    plugins.onLoad({ filter: /[/]undici[/]lib[/]dispatcher[/]client-h2\.js$/ }, () => ({
      contents: `module.exports = () => { throw new Error("HTTP/2 was not offered"); };`,
    }));
    plugins.onResolve({ filter: /^node:http$/ }, ({ importer }) =>
      importer.includes("/undici/lib/") ? { path: "http", namespace: "http-1" } : undefined,
    );
    // All that is taken of it: Node's own default, and a class of which there is no object here.
    plugins.onLoad({ filter: /./, namespace: "http-1" }, () => ({
      contents: "exports.maxHeaderSize = 16384; exports.IncomingMessage = class {};",
    }));
  },
};
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
  define: { "WebAssembly.Module": "PatientModule" },
  inject: ["scripts/wasm-module.mjs"],
  logLevel: "warning",
};
// The library: what is imported when first needed is a chunk of its own.
await build({
  ...common,
  entryPoints: ["src/index.ts", "src/dockerfile/index.ts", "src/registry/index.ts"],
  splitting: true,
  format: "esm",
  plugins: [namesOfLazyPackages, http1Alone],
  // CommonJS packages inside an ES module need a `require`.
  banner: {
    js: 'import { createRequire as __createRequire } from "node:module"; const require = __createRequire(import.meta.url);',
  },
});
/** What is read when it is needed; a file that has it beside itself. */
const beside = (...names) => ({
  name: "beside",
  setup: (plugins) =>
    plugins.onResolve({ filter: /./ }, ({ path, kind }) => {
      const [name] = /[^/]+?(?=(\.js)?$)/.exec(path) ?? [];
      const isBeside = kind === "dynamic-import" && names.includes(name);
      return isBeside ? { path: `./${name}.cjs`, external: true } : undefined;
    }),
});
const commonJs = {
  ...common,
  format: "cjs",
  charset: "ascii",
  outExtension: { ".js": ".cjs" },
  // An import() would load the machinery for ES modules after all.
  supported: { "dynamic-import": false },
  define: { ...common.define, "import.meta.url": "__fileUrl" },
  banner: { js: 'const __fileUrl = require("node:url").pathToFileURL(__filename).href;' },
};
// The command, and the processes and threads that are started by their path. CommonJS, one file each: Node starts in
// half the time when it need not load that machinery, and the first process of a step is started for every RUN.
// An ES module's names would be names of what `default` is here: it has to stay the function itself.
const AS_IT_IS = `module.exports = require("fast-glob");`;
const LAZY_OF_COMMAND = { undici: UNDICI, "fast-glob": AS_IT_IS };
// An ES module, which require() does not take; it looks for its addon from where it lies itself.
const ZSTD = {
  stdin: { contents: `export * from "@cloudpss/zstd/napi";`, resolveDir: process.cwd() },
  external: ["koffi"],
  banner: {
    js: `const __fileUrl = require("node:url").pathToFileURL(require.resolve("@cloudpss/zstd/napi")).href;`,
  },
};
await build({
  ...commonJs,
  entryPoints: ["src/cli/main.ts"],
  plugins: [beside("zstd", ...Object.keys(LAZY_OF_COMMAND))],
});
for (const [name, contents] of Object.entries(LAZY_OF_COMMAND)) {
  const outfile = `${fresh}/cli/${name}.cjs`;
  const stdin = { contents, resolveDir: process.cwd() };
  await build({ ...commonJs, stdin, outfile, outdir: undefined, plugins: [http1Alone] });
}
await build({
  ...commonJs,
  entryPoints: [
    "src/child.ts",
    "src/git-remote.ts",
    "src/internal/hash-thread.ts",
    "src/worker/sandbox/init.ts",
    "src/worker/sandbox/owner-thread.ts",
    "src/worker/sandbox/proot-init.ts",
    "src/worker/root-thread.ts",
    "src/worker/root-work.ts",
  ],
  // A thread that hashes is started from the same file as the others, and needs none of their work.
  plugins: [beside("root-work", "zstd"), namesOfLazyPackages, http1Alone],
});
for (const directory of [".", "cli", "worker"]) {
  await build({
    ...commonJs,
    ...ZSTD,
    outfile: `${fresh}/${directory}/zstd.cjs`,
    outdir: undefined,
  });
}

rmSync("dist", { recursive: true, force: true });
renameSync(fresh, "dist");

// For bin/start.cjs. Each runs once, as far as it does one thing after the other: so the bytes are the same each time.
const PREDICTABLE = ["--predictable", "--random-seed=1"];
const TRAINING = "dist/training.Dockerfile";
const RUNS = {
  // Ends where it finds that there is no such stage.
  "cli/main": ["--context=dist", `--dockerfile=${TRAINING}`, "--no-push", "--target=none"],
  "cli/undici": [],
  "cli/fast-glob": [],
  child: [],
  "worker/root-thread": [],
  "worker/root-work": [],
  // Ends where it is given nothing to do.
  "worker/sandbox/init": [],
};
writeFileSync(TRAINING, "FROM scratch\nCOPY a /\nRUN true\n");
for (const [name, args] of Object.entries(RUNS)) {
  const file = join(process.cwd(), "dist", `${name}.cjs`);
  const words = [...PREDICTABLE, "scripts/make-code.cjs", file, ...args];
  spawnSync(process.execPath, words, { env: { PATH: process.env.PATH, UV_THREADPOOL_SIZE: "1" } });
  if (!existsSync(`${file}.code`)) throw new Error(`nothing was made of ${name}`);
}
rmSync(TRAINING);
if (process.argv.includes("--types")) {
  const tsc = spawnSync("node_modules/.bin/tsc", ["-p", "tsconfig.json", "--emitDeclarationOnly"], {
    stdio: "inherit",
  });
  process.exitCode = tsc.status ?? 1;
}

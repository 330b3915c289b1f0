// Writes what V8 makes of a file of dist while it runs, and of those beside it that it loads, for bin/start.cjs:
// `make-code.cjs FILE [arguments of FILE]`. The bytes are the same each time, for files in the same place, with
// `--predictable --random-seed=1`, which V8 lets pass when it compares flags, as long as the same functions run.
"use strict";
const { readFileSync, renameSync, writeFileSync } = require("node:fs");
const { createRequire, wrap } = require("node:module");
const path = require("node:path");
const { setFlagsFromString } = require("node:v8");
const { Script } = require("node:vm");

process.argv.splice(1, 1);
// It throws away what has not run for a while, by the clock.
setFlagsFromString("--no-flush-bytecode");
/** By file, as bin/start.cjs loads them. */
const loaded = new Map();

function load(file) {
  const known = loaded.get(file);
  if (known !== undefined) return known.module.exports;
  // Not where the file is now: who uses the code says where it is.
  const filename = path.basename(file);
  const script = new Script(wrap(readFileSync(file, "latin1")), { filename });
  const module = { exports: {} };
  loaded.set(file, { script, module });
  const plain = createRequire(file);
  const near = (name) => (name.startsWith("./") ? load(plain.resolve(name)) : plain(name));
  const require = Object.assign(near, plain);
  const run = script.runInThisContext();
  run.call(module.exports, module.exports, require, module, file, path.dirname(file));
  return module.exports;
}

process.on("exit", () => {
  // As those who use it have it.
  setFlagsFromString("--flush-bytecode");
  for (const [file, { script }] of loaded) {
    // At once: half of it might be believed.
    writeFileSync(`${file}.code.part`, script.createCachedData());
    renameSync(`${file}.code.part`, `${file}.code`);
  }
});
load(process.argv[1]);

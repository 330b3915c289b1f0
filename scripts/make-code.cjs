// Writes what V8 makes of a file of dist while it runs, for bin/start.cjs: `make-code.cjs FILE [arguments of FILE]`. The
// bytes are the same each time, for a file in the same place, with `--predictable --random-seed=1`, which V8 lets pass
// when it compares flags, as long as the file does one thing after the other.
"use strict";
const { readFileSync, renameSync, writeFileSync } = require("node:fs");
const { createRequire, wrap } = require("node:module");
const path = require("node:path");
const { setFlagsFromString } = require("node:v8");
const { Script } = require("node:vm");

process.argv.splice(1, 1);
const file = process.argv[1];
// It throws away what has not run for a while, by the clock.
setFlagsFromString("--no-flush-bytecode");
// Not where the file is now: who uses the code says where it is.
const filename = path.basename(file);
const script = new Script(wrap(readFileSync(file, "latin1")), { filename });
process.on("exit", () => {
  // As those who use it have it.
  setFlagsFromString("--flush-bytecode");
  // At once: half of it might be believed.
  writeFileSync(`${file}.code.part`, script.createCachedData());
  renameSync(`${file}.code.part`, `${file}.code`);
});
const module_ = { exports: {} };
script
  .runInThisContext()
  .call(module_.exports, module_.exports, createRequire(file), module_, file, path.dirname(file));

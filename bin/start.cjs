// Starts a file of dist: `node start.cjs FILE [arguments of FILE]`. Beside it may lie what V8 made of it when it was
// built (scripts/make-code.cjs): V8 takes that only from the very same version and flags, and is spared to read through
// a megabyte of source of which a start needs a tenth.
"use strict";
const { existsSync, readFileSync } = require("node:fs");
const { createRequire, wrap } = require("node:module");
const path = require("node:path");
const { Script } = require("node:vm");

const loaded = new Map();
/** What earlier runs made, where none of it came along (kept-code.cjs). */
let kept;

/** Starts the command, and keeps for its next start what V8 makes of it where nothing lies beside it. */
exports.startCommand = function startCommand(file) {
  if (!existsSync(`${file}.code`)) kept = require("./kept-code.cjs").openKept(process.env);
  return start(file);
};

/** What `module.exports` of the file is; files that it requires as "./NAME" are loaded the same way. */
function start(file) {
  const known = loaded.get(file);
  if (known !== undefined) return known.exports;
  const module = { exports: {} };
  loaded.set(file, module);
  const cachedData = kept === undefined ? madeCode(file) : kept.read(file);
  // The bundler writes ASCII alone.
  const source = wrap(readFileSync(file, "latin1"));
  const script = new Script(source, { filename: file, cachedData });
  kept?.loaded(file, script, script.cachedDataRejected === false);
  const plain = createRequire(file);
  const require = (name) => (name.startsWith("./") ? start(plain.resolve(name)) : plain(name));
  script
    .runInThisContext()
    .call(
      module.exports,
      module.exports,
      Object.assign(require, plain),
      module,
      file,
      path.dirname(file),
    );
  return module.exports;
}

function madeCode(file) {
  try {
    return readFileSync(`${file}.code`);
  } catch {
    return undefined;
  }
}

if (require.main === module) {
  process.argv.splice(1, 1);
  start(process.argv[1]);
}

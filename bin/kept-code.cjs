// What V8 made of files of dist in an earlier run of this user, where none came with them: npm's package has none, for it
// would be of one V8. Kept in the user's cache directory, and only taken from there when nobody else can have written it.
"use strict";
const fs = require("node:fs");
const path = require("node:path");
const v8 = require("node:v8");

/** Files of one name that are kept: one for each V8, and for each installation. */
const MOST = 4;
/** Others than the user may not write. */
const WRITABLE = 0o022;

/** For one process; `undefined` where nothing is to be kept, as Node's own cache is told by the same variable. */
exports.openKept = function openKept(environment) {
  const { XDG_CACHE_HOME: cache, HOME: home, NODE_DISABLE_COMPILE_CACHE: disabled } = environment;
  const base = path.isAbsolute(cache ?? "") ? cache : home && path.join(home, ".cache");
  if (disabled || !path.isAbsolute(base ?? "")) return undefined;
  return new Kept(path.join(base, "tsbuild-code"));
};

class Kept {
  #directory;
  /** Tells V8's version, its flags and the processor. */
  #tag = v8.cachedDataVersionTag();
  #paths = new Map();
  #scripts = new Map();
  #isRecording = false;

  constructor(directory) {
    this.#directory = directory;
  }

  /**
   * What is kept of a file; to be called before its source is read, for what is there later may be another. V8 itself
   * refuses what another V8 made, but would believe it of another source.
   */
  read(file) {
    const kept = this.#path(file);
    this.#paths.set(file, kept);
    try {
      if (isOurs(fs.lstatSync(this.#directory), "isDirectory")) return readOurs(kept);
    } catch {
      // Not there yet.
    }
    return undefined;
  }

  /** To be called with each script that was loaded. */
  loaded(file, script, isKept) {
    this.#scripts.set(file, script);
    if (isKept || this.#isRecording) return;
    this.#isRecording = true;
    // What has not run for a while would be thrown away, by a long build what its start needs.
    v8.setFlagsFromString("--no-flush-bytecode");
    process.once("exit", (code) => {
      if (code === 0) this.#keep();
    });
  }

  #keep() {
    try {
      for (const flag of ["--flush-bytecode", "--no-expose-gc"]) v8.setFlagsFromString(flag);
      if (v8.cachedDataVersionTag() !== this.#tag) return;
      if (!isOurPlace(this.#directory)) return;
      fs.mkdirSync(this.#directory, { recursive: true, mode: 0o700 });
      if (!isOurs(fs.lstatSync(this.#directory), "isDirectory")) return;
      for (const [file, script] of this.#scripts) {
        writeWhole(this.#paths.get(file), script.createCachedData());
        removeOldest(this.#directory, nameOf(file));
      }
    } catch {
      // The next run starts as slowly, that is all.
    }
  }

  /** Another file in the same place, whatever its version says, has another inode or time of change. */
  #path(file) {
    const { dev, ino, size, ctimeNs } = fs.statSync(file, { bigint: true });
    const identity = [dev, ino, size, ctimeNs, this.#tag].map((one) => one.toString(36));
    return path.join(this.#directory, `${nameOf(file)}-${identity.join("-")}`);
  }
}

function nameOf(file) {
  return path.basename(file, ".cjs");
}

function isOurs(stats, kind) {
  return stats[kind]() && stats.uid === process.geteuid() && (stats.mode & WRITABLE) === 0;
}

/** Another user's home, as `sudo` may leave it in the environment, is left alone. */
function isOurPlace(directory) {
  let above = directory;
  while (!fs.existsSync(above)) above = path.dirname(above);
  return fs.statSync(above).uid === process.geteuid();
}

function readOurs(file) {
  const fd = fs.openSync(
    file,
    fs.constants.O_RDONLY | fs.constants.O_NOFOLLOW | fs.constants.O_NONBLOCK,
  );
  try {
    return isOurs(fs.fstatSync(fd), "isFile") ? fs.readFileSync(fd) : undefined;
  } finally {
    fs.closeSync(fd);
  }
}

/** V8 does not look whether all of it is there: it is on the disk before it has its name. */
function writeWhole(file, bytes) {
  const part = `${file}.${process.pid}`;
  try {
    fs.writeFileSync(part, bytes, { flag: "wx", mode: 0o600, flush: true });
    fs.renameSync(part, file);
  } catch (error) {
    fs.rmSync(part, { force: true });
    throw error;
  }
}

/** Also what a process that was killed left half written. */
function removeOldest(directory, name) {
  const times = fs
    .readdirSync(directory)
    .filter((entry) => entry.startsWith(`${name}-`))
    .map((entry) => path.join(directory, entry))
    .map((file) => ({ file, time: fs.statSync(file).mtimeMs }))
    .sort((a, b) => b.time - a.time);
  for (const { file } of times.slice(MOST)) fs.rmSync(file, { force: true });
}

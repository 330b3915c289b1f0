// Stands for `WebAssembly.Module` in what the command and the library load (scripts/build.mjs).
import { setFlagsFromString } from "node:v8";

/**
 * V8 compiles a function anew, and better, once it has run through so many bytes of it. By that measure the one large
 * function of undici's HTTP parser is worth it after the first answer, and that takes a thread longer than all the rest
 * of a build that finds everything in the cache; the process cannot end meanwhile. A build that really reads a lot still
 * gets there.
 */
const BUDGET = 1_000_000_000;
/** By V8's version: what it is if nobody says otherwise. Later versions have seven times as much. */
const USUAL_BUDGETS = { 11.3: 1_800_000 };

/** A function, as what comes after `new` may be; a module knows its budget from the beginning. */
export function PatientModule(bytes) {
  // Not by its whole name, which the bundler would put our own for.
  const { Module } = WebAssembly;
  const [version] = /^\d+\.\d+/.exec(process.versions.v8) ?? [];
  const usual = USUAL_BUDGETS[version];
  if (usual === undefined) return new Module(bytes);
  setFlagsFromString(`--wasm-tiering-budget=${BUDGET}`);
  try {
    return new Module(bytes);
  } finally {
    // V8 takes made code, ours and Node's own, only with the flags that it was made with.
    setFlagsFromString(`--wasm-tiering-budget=${usual}`);
  }
}

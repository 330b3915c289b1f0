/** What scripts (conformance, demo, bench) need of the tests' services, in one module. */
export {
  busyboxBase,
  busyboxTar,
  cacheDir,
  cached,
  debianBase,
  pushBase,
  writeLayout,
} from "./bases.js";
export { bootstrapDebian } from "./bases-debian.js";
export { startRegistry } from "./services.js";
export { readTar, writeTar } from "./tools-tar.js";
export { findTool, lacksTools, mustRun, removeTree, run, tempDir } from "./tools.js";
export {
  asUser,
  reachableApp,
  runAs,
  userEnvironment,
  userWithoutSubIds,
  userWithSubIds,
} from "./users.js";

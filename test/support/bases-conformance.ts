/** What `scripts/conformance.mjs` and the demo need of the tests' services, in one module. */
export {
  busyboxBase,
  cacheDir,
  cached,
  debianBase,
  nastyBase,
  pushBase,
  writeLayout,
} from "./bases.js";
export { startRegistry } from "./services.js";
export { lacksTools, mustRun, run, tempDir } from "./tools.js";
export {
  asUser,
  reachableApp,
  runAs,
  userEnvironment,
  userWithoutSubIds,
  userWithSubIds,
} from "./users.js";

/** What `scripts/conformance.mjs` needs to build cases by hand, in one module. */
export { busyboxBase, debianBase, pushBase } from "../support/bases.js";
export { startRegistry } from "../support/services.js";
export { lacksTools } from "../support/tools.js";
export { findUser, userWithoutSubIds, userWithSubIds } from "../support/users.js";
export { isContextName } from "../support/pod-contexts.js";
export { readCases } from "./cases.js";
export { executorBuilder } from "./executor-builder.js";
export { runCase } from "./run-case.js";
export { caseBuilder, NEEDS_ROOT, NOT_WITH } from "./ways.js";

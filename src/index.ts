export { build, check, explain, plan, start } from "./build.js";
export type { Build } from "./build.js";
export { diagnose } from "./build/doctor.js";
export type { Diagnosis, DoctorOptions } from "./build/doctor.js";
export type {
  BuildOptions,
  BuildResult,
  CacheSource,
  CacheTarget,
  GitContext,
  Output,
  RegistryCache,
} from "./build/options.js";
export type { BuildPlan } from "./build/run-plan.js";
export { checkStore } from "./build/store-check.js";
export type { CheckedStore, CheckStoreOptions, StoreFault } from "./build/store-check.js";
export type { StoreOptions } from "./build/store-open.js";
export { prune } from "./build/store-prune.js";
export type { PruneOptions, PruneResult } from "./build/store-prune.js";
export { storeUsage } from "./build/store-usage.js";
export type { StoreEntry, StoreKindUsage, StoreUsage } from "./build/store-usage.js";
export { ERROR_CODES, TsbuildError } from "./errors.js";
export type { ErrorCode } from "./errors.js";
export type { ExplainedStep } from "./solver/cache/explained.js";
export type { BuildEvent, PlannedStep, StepId } from "./solver/events.js";
export { DockerfileError, locate, renderDiagnostic } from "./dockerfile/index.js";
export type { Diagnostic, Position } from "./dockerfile/types.js";
export type { Descriptor } from "./oci/types.js";
export type { KeychainSource } from "./registry/keychain.js";
export type { Credential, Keychain } from "./registry/types.js";
export type { HostFacts } from "./worker/host-report.js";
export type { DriverName, RefusedDriver } from "./worker/types.js";

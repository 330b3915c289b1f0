export { lintViolation, parseCheck, ruleIsOn } from "./check.js";
export { DockerfileError, locate, renderDiagnostic } from "./diagnostic.js";
export { expandHeredoc, expandWord, expandWords, heredocText } from "./expand.js";
export { automaticArgs } from "./global-args.js";
export { DurationError, parseDuration } from "./go-values.js";
export { runScript } from "./heredoc.js";
export { isStageName } from "./instructions/from.js";
export { expandMount } from "./instructions/mount.js";
export { parsePorts } from "./instructions/ports.js";
export { parseStopSignal } from "./instructions/signals.js";
export {
  lintBasePlatform,
  lintIgnored,
  lintPort,
  lintShellForm,
  lintUnset,
  lintWorkdir,
} from "./lint/expanded.js";
export { lintTriggers } from "./lint/index.js";
export { isSecretName } from "./lint/instructions.js";
export { parseDockerfile, parseTrigger, type ParseOptions } from "./parse.js";
export { planStages, withTriggers } from "./plan.js";
export { formatInstruction, printDockerfile } from "./print.js";
export { resolveFrom } from "./stage-graph.js";
export type {
  Add,
  Arg,
  CheckOptions,
  Cmd,
  Command,
  Copy,
  CopySource,
  DeviceFlag,
  Diagnostic,
  Directives,
  Dockerfile,
  Entrypoint,
  Env,
  EscapeToken,
  Expansion,
  Expose,
  Flag,
  From,
  FromSource,
  HealthcheckInstruction,
  Heredoc,
  Instruction,
  Label,
  Maintainer,
  Mount,
  Onbuild,
  PlannedStage,
  PlanOptions,
  Position,
  ResolvedMount,
  Run,
  RunMount,
  RunScript,
  Scope,
  Shell,
  SourceFile,
  Span,
  Stage,
  StageBase,
  StagePlan,
  StopSignal,
  User,
  Volume,
  Word,
  Workdir,
} from "./types.js";

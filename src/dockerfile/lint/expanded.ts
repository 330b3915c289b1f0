import { raising } from "../diagnostic.js";
import { quote } from "../go-values.js";
import { splitPort } from "../instructions/ports.js";
import { didYouMean } from "../suggest.js";
import type { CheckOptions, Diagnostic, Instruction, Span } from "../types.js";
import { LintReport } from "./report.js";

/** An instruction, whose comments may switch rules off. */
type At = Pick<Instruction, "comments" | "span">;

/**
 * UndefinedVar, for the names that `expandWord` found unset. `declared`: names that an ARG of the stage declares, with or
 * without a value; `known`: names that have one, for the suggestion.
 */
export function lintUnset(
  unset: readonly string[],
  declared: ReadonlySet<string>,
  known: Iterable<string>,
  at: At,
  check: CheckOptions,
): readonly Diagnostic[] {
  const report = new LintReport(check);
  const options = [...known].map((name) => `$${name}`);
  for (const name of unset) {
    if (declared.has(name)) continue;
    const tail = didYouMean(`$${name}`, options);
    report.add("UndefinedVar", `Usage of undefined variable '$${name}'${tail}`, at);
  }
  return report.warnings;
}

/** WorkdirRelativePath, for the first WORKDIR of a stage and those it starts from; `path` is expanded. */
export function lintWorkdir(path: string, at: At, check: CheckOptions): readonly Diagnostic[] {
  const report = new LintReport(check);
  if (!path.startsWith("/")) {
    const message = `Relative workdir ${quote(path)} can have unexpected results if the base image changes`;
    report.add("WorkdirRelativePath", message, at);
  }
  return report.warnings;
}

/** ExposeProtoCasing and ExposeInvalidFormat, for one expanded word. @throws DockerfileError at `span` */
export function lintPort(
  text: string,
  at: At,
  check: CheckOptions,
  span: Span = at.span,
): readonly Diagnostic[] {
  const report = new LintReport(check);
  const { protocol, ip, host } = raising(() => splitPort(text, span));
  if (protocol !== protocol.toLowerCase()) {
    const message = `Defined protocol '${text}' in EXPOSE instruction should be lowercase`;
    report.add("ExposeProtoCasing", message, at, span);
  }
  if (ip !== "" || host !== "") {
    const message = `EXPOSE instruction should not define an IP address or host-port mapping, found '${text}'`;
    report.add("ExposeInvalidFormat", message, at, span);
  }
  return report.warnings;
}

/** CopyIgnoredFile, for a source that the ignore file excludes (and that has no `!` line). */
export function lintIgnored(
  source: string,
  at: At & Pick<Instruction, "kind">,
  check: CheckOptions,
): readonly Diagnostic[] {
  const report = new LintReport(check);
  const verb = at.kind === "ADD" ? "Add" : "Copy";
  const message = `Attempting to ${verb} file ${quote(source)} that is excluded by .dockerignore`;
  report.add("CopyIgnoredFile", message, at);
  return report.warnings;
}

/** InvalidBaseImagePlatform. */
export function lintBasePlatform(
  image: string,
  expected: string,
  actual: string,
  at: At,
  check: CheckOptions,
): readonly Diagnostic[] {
  const report = new LintReport(check);
  if (expected !== actual) {
    const message = `Base image ${image} was pulled with platform ${quote(actual)}, expected ${quote(expected)} for current build`;
    report.add("InvalidBaseImagePlatform", message, at);
  }
  return report.warnings;
}

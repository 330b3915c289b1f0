import { describePlatform } from "../../oci/platform.js";
import type { Platform } from "../../oci/types.js";
import { raising } from "../diagnostic.js";
import { quote } from "../go-values.js";
import { splitPort } from "../instructions/ports.js";
import { closest } from "../suggest.js";
import type { CheckOptions, Cmd, Diagnostic, Entrypoint, Instruction, Span } from "../types.js";
import { keywordOf, LintReport } from "./report.js";

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
    const match = closest(`$${name}`, options) ?? "$";
    const tail = match === "$" ? "" : ` (did you mean ${match}?)`;
    report.add("UndefinedVar", `Usage of undefined variable '$${name}'${tail}`, at);
  }
  return report.warnings;
}

/** JSONArgsRecommended, where neither the stage nor what it starts from has set SHELL. */
export function lintShellForm(
  instruction: Cmd | Entrypoint,
  check: CheckOptions,
): readonly Diagnostic[] {
  const report = new LintReport(check);
  if (instruction.command.form === "shell") {
    const message = `JSON arguments recommended for ${keywordOf(instruction)} to prevent unintended behavior related to OS signals`;
    report.add("JSONArgsRecommended", message, instruction);
  }
  return report.warnings;
}

/** WorkdirRelativePath, for the first WORKDIR of a stage and those it starts from; `path` is expanded, and relative. */
export function lintWorkdir(path: string, at: At, check: CheckOptions): readonly Diagnostic[] {
  const report = new LintReport(check);
  const message = `Relative workdir ${quote(path)} can have unexpected results if the base image changes`;
  report.add("WorkdirRelativePath", message, at);
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

/** InvalidBaseImagePlatform. Variants are not compared, and no comment at the FROM switches the rule off, as in BuildKit. */
export function lintBasePlatform(
  image: string,
  expected: Platform,
  actual: Platform,
  { span }: At,
  check: CheckOptions,
): readonly Diagnostic[] {
  const report = new LintReport(check);
  if (expected.os !== actual.os || expected.architecture !== actual.architecture) {
    const [is, wanted] = [actual, expected].map((one) => quote(describePlatform(one)));
    const message = `Base image ${image} was pulled with platform ${is}, expected ${wanted} for current build`;
    report.add("InvalidBaseImagePlatform", message, { comments: [], span });
  }
  return report.warnings;
}

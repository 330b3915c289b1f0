import { TsbuildError } from "../../errors.js";
import { parsePlatform } from "../../oci/platform.js";
import { parseReference } from "../../oci/reference.js";
import { Fault } from "../diagnostic.js";
import { expand } from "../expand.js";
import { quote } from "../go-values.js";
import { didYouMean } from "../suggest.js";
import type { Expansion, Scope, Stage } from "../types.js";
import type { LintReport } from "./report.js";

/** A FROM as it expanded. */
export interface ExpandedFrom {
  readonly stage: Stage;
  readonly image: Expansion;
  readonly platform?: Expansion & {
    /** Names that had a value. */
    readonly used: ReadonlySet<string>;
  };
}

/** UndefinedArgInFrom, RedundantTargetPlatform, FromPlatformFlagConstDisallowed; `declared`: the names of global ARGs. */
export function lintFrom(
  found: ExpandedFrom,
  declared: ReadonlySet<string>,
  globalArgs: ReadonlyMap<string, string>,
  report: LintReport,
): void {
  const { stage, image, platform } = found;
  const { from } = stage;
  for (const name of [...image.unset, ...(platform?.unset ?? [])]) {
    if (declared.has(name)) continue;
    const message = `FROM argument '${name}' is not declared${didYouMean(name, declared)}`;
    report.add("UndefinedArgInFrom", message, from);
  }
  if (platform === undefined || from.platform === undefined) return;
  const { used, unset, value } = platform;
  const { value: word, span } = from.platform;
  if (used.size === 0 && unset.length === 0) {
    if (!namesPlatform(stage.name ?? "", value)) {
      const message = `FROM --platform flag should not use constant value ${quote(value)}`;
      report.add("FromPlatformFlagConstDisallowed", message, from, span);
    }
  } else if (
    used.size === 1 &&
    unset.length === 0 &&
    used.has("TARGETPLATFORM") &&
    globalArgs.get("TARGETPLATFORM") === value
  ) {
    const message = `Setting platform to predefined ${word.text} in FROM is redundant as this is the default behavior`;
    report.add("RedundantTargetPlatform", message, from, span);
  }
}

/** A stage whose name says that it is for one platform may say so in its FROM. */
function namesPlatform(name: string, platform: string): boolean {
  const { os, architecture } = parsePlatform(platform);
  return name.includes(os) || name.includes(architecture);
}

/** InvalidDefaultArgInFrom; `scope` holds the ARGs' defaults only. */
export function lintDefaultArgs(stages: readonly Stage[], scope: Scope, report: LintReport): void {
  for (const { from } of stages) {
    try {
      parseReference(expand(from.image, scope).value);
    } catch (error) {
      if (error instanceof Fault) return;
      if (!(error instanceof TsbuildError)) throw error;
      const message = `Default value for ARG ${from.image.text} results in empty or invalid base image name`;
      report.add(
        "InvalidDefaultArgInFrom",
        message,
        { comments: [], span: from.span },
        from.image.span,
      );
    }
  }
}

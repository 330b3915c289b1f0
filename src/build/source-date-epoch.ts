import { DockerfileError } from "../dockerfile/index.js";
import type { Dockerfile } from "../dockerfile/types.js";
import { TsbuildError } from "../errors.js";
import { mainPlace, placeOf } from "./contexts-place.js";
import { gitEpoch, placeEpoch, urlEpoch } from "./epoch-sources.js";
import { epochStageSource, refused } from "./epoch-stage.js";
import type { BuildOptions } from "./options.js";
import type { PlatformPlan } from "./prepare.js";
import type { Sources } from "./sources.js";

const NAME = "SOURCE_DATE_EPOCH";
const NUMBER = /^\d{1,12}$/;
const HINT =
  "expected seconds since 1970-01-01, context, or the name of a context or of a stage with one remote ADD";

export interface EpochInput {
  readonly options: BuildOptions;
  readonly dockerfile: Dockerfile;
  readonly remote: Sources;
  readonly signal: AbortSignal;
}

/**
 * Puts SOURCE_DATE_EPOCH into the plan as a number (https://reproducible-builds.org/specs/source-date-epoch/): the build
 * argument, else the environment's variable, which buildx passes as one, else what the Dockerfile's global ARG says. It may
 * also be what a time is taken from, as BuildKit knows it: `context`, a named context, a stage. Where that has no time,
 * there is none.
 * @throws TsbuildError USAGE, DockerfileError; what fetching throws
 */
export async function withEpoch(given: PlatformPlan, input: EpochInput): Promise<PlatformPlan> {
  const { plan, options } = given;
  const argument = options.buildArgs.get(NAME);
  const value = argument ?? plan.globalArgs.get(NAME);
  const otherwise = input.options.reproducible === true ? 0 : undefined;
  if (value === undefined || value === "") return dated(given, otherwise);
  const found = NUMBER.test(value) ? Number(value) : await epochOf(value, given, input);
  const text = found === undefined ? "" : String(found);
  const resolved =
    argument === undefined
      ? { plan: { ...plan, globalArgs: new Map(plan.globalArgs).set(NAME, text) }, options }
      : { plan, options: { ...options, buildArgs: new Map(options.buildArgs).set(NAME, text) } };
  return dated(resolved, found ?? otherwise);
}

function dated({ plan, options }: PlatformPlan, epoch: number | undefined): PlatformPlan {
  return { plan, options: epoch === undefined ? options : { ...options, sourceDateEpoch: epoch } };
}

async function epochOf(
  value: string,
  plan: PlatformPlan,
  input: EpochInput,
): Promise<number | undefined> {
  const { options, dockerfile, remote, signal } = input;
  if (value === "context") {
    return placeEpoch(mainPlace(options), remote, signal);
  }
  const contexts = Object.entries(options.buildContexts ?? {});
  const named = contexts.find(([name]) => name.toLowerCase() === value.toLowerCase())?.[1];
  if (named !== undefined) {
    const isImage = /^(?:docker-image|oci-layout):\/\//.test(named);
    return isImage ? undefined : placeEpoch(placeOf(named, `context ${value}`), remote, signal);
  }
  const stage = dockerfile.stages.find(({ name }) => name === value.toLowerCase());
  if (stage === undefined) throw invalid(value, plan, dockerfile);
  const globals = new Map(plan.plan.globalArgs);
  globals.delete(NAME);
  const { buildArgs } = plan.options;
  const source = epochStageSource(stage, { globals, buildArgs, escape: dockerfile.escape });
  const { address, checksum, keepGitDir } = source;
  const ref = remote.parseGit(address);
  if (ref !== undefined) {
    const keep = keepGitDir === undefined ? {} : { keepGitDir };
    const pinned = checksum === undefined ? {} : { checksum };
    return gitEpoch({ ...ref, ...keep, ...pinned }, undefined, remote);
  }
  if (/^https?:\/\//i.test(address)) return urlEpoch(address, checksum, remote, signal);
  throw refused("stage source must be a single HTTP(S) or Git ADD", stage.from.span);
}

/** With the place of the ARG, when it is the Dockerfile that says it. */
function invalid(value: string, { options }: PlatformPlan, dockerfile: Dockerfile): TsbuildError {
  const message = `invalid ${NAME}: ${value}`;
  const arg = dockerfile.globals.find(({ entries }) =>
    entries.some(({ name }) => name.text === NAME),
  );
  if (arg === undefined || options.buildArgs.has(NAME)) {
    return new TsbuildError("USAGE", message, { hint: HINT });
  }
  const { span } = arg;
  return new DockerfileError([
    { severity: "error", code: "source-date-epoch", message, hint: HINT, span },
  ]);
}

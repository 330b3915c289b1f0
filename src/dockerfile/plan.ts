import { TsbuildError } from "../errors.js";
import { formatPlatform, parsePlatform } from "../oci/platform.js";
import type { Platform } from "../oci/types.js";
import { fail, Problems, raising } from "./diagnostic.js";
import { expand } from "./expand.js";
import { automaticArgs, evaluateGlobals } from "./global-args.js";
import { quote } from "./go-values.js";
import { type ExpandedFrom, lintDefaultArgs, lintFrom } from "./lint/from.js";
import { lintStage } from "./lint/index.js";
import { LintReport } from "./lint/report.js";
import { readTrigger } from "./parse.js";
import {
  checkCircles,
  checkReference,
  findContext,
  matchContext,
  nameOf,
  type Names,
  needsOf,
  refuseLaterStage,
} from "./stage-graph.js";
import { closest, didYouMean } from "./suggest.js";
import type {
  Dockerfile,
  Expansion,
  From,
  PlannedStage,
  PlanOptions,
  Scope,
  Stage,
  StageBase,
  StagePlan,
} from "./types.js";

type Trigger = PlannedStage["triggers"][number];

/**
 * Evaluates the global ARGs, expands every FROM, finds what each stage starts from and copies from, and drops the stages
 * that the target does not need.
 * @throws DockerfileError with everything that is wrong
 */
export function planStages(dockerfile: Dockerfile, options: PlanOptions): StagePlan {
  return raising(() => plan(dockerfile, options));
}

function plan(dockerfile: Dockerfile, options: PlanOptions): StagePlan {
  const { stages, check } = dockerfile;
  const target = findTarget(stages, options.target);
  const problems = new Problems();
  const automatic = automaticArgs(options, target?.name ?? "default");
  const globalArgs = evaluateGlobals(dockerfile, automatic, options.buildArgs, problems);
  const report = new LintReport(check);
  const planner = new Planner(dockerfile, options, globalArgs, problems, report);
  const all = stages.map((stage) => planner.plan(stage));
  problems.throwAny();
  if (target === undefined) refuseTarget(options.target ?? "", stages);
  const unspoilt = new Problems();
  const defaults = evaluateGlobals(dockerfile, automatic, new Map(), unspoilt);
  if (unspoilt.errors.length === 0) {
    const scope = { escape: dockerfile.escape, get: (name: string) => defaults.get(name) };
    lintDefaultArgs(stages, scope, report);
  }
  const { names, contexts, targetPlatform } = planner;
  const { warnings } = report;
  const known = { names, contexts, targetPlatform, globalArgs };
  const base = { target: target.index, all, ...known, warnings, check };
  return withNeeds(base, new Set());
}

/** Computes `needs` and `stages`; `linted`: the stages whose warnings are there already. */
function withNeeds(plan: Omit<StagePlan, "stages">, linted: ReadonlySet<number>): StagePlan {
  checkCircles(plan);
  const problems = new Problems();
  const needed = new Set([plan.target]);
  const all = [...plan.all];
  const warnings = [...plan.warnings];
  // Needs point backwards only, so one pass from the target finds them all.
  for (const before of plan.all.slice(0, plan.target + 1).toReversed()) {
    const { index } = before.stage;
    if (!needed.has(index)) continue;
    const complete = { ...before, triggers: triggersOf(before, plan, problems) };
    refuseLaterStage(complete, plan);
    const planned = { ...complete, needs: needsOf(complete, plan) };
    for (const need of planned.needs) needed.add(need);
    all[index] = planned;
    if (linted.has(index)) continue;
    warnings.push(...lintStage(planned, plan.check));
  }
  problems.throwAny();
  const stages = new Map([...all.entries()].filter(([index]) => needed.has(index)));
  return { ...plan, all, stages, warnings };
}

/** What the base stage itself left; triggers are not handed on. */
function triggersOf(
  { base, stage, triggers }: PlannedStage,
  plan: Pick<StagePlan, "all">,
  problems: Problems,
): readonly Trigger[] {
  if (base.kind !== "stage") return triggers;
  const left = plan.all[base.index]?.stage.instructions ?? [];
  return left.flatMap((instruction) => {
    if (instruction.kind !== "ONBUILD") return [];
    const name = `${instruction.span.file.path} (ONBUILD for ${nameOf(stage)})`;
    return readTrigger(instruction.trigger, name, problems) ?? [];
  });
}

/**
 * The plan once the base image of a stage is known to have left triggers: they may copy from stages that nothing needed
 * before.
 * @throws DockerfileError
 */
export function withTriggers(
  plan: StagePlan,
  index: number,
  triggers: readonly Trigger[],
): StagePlan {
  const all = plan.all.map((planned) =>
    planned.stage.index === index ? { ...planned, triggers } : planned,
  );
  return raising(() => withNeeds({ ...plan, all }, new Set(plan.stages.keys())));
}

/** Plans one stage after the other, each knowing those before it. */
class Planner {
  readonly names: Names = new Map<string, number>();
  readonly contexts: ReadonlySet<string>;
  readonly targetPlatform: string;
  readonly #planned: PlannedStage[] = [];
  readonly #dockerfile: Dockerfile;
  readonly #globalArgs: ReadonlyMap<string, string>;
  readonly #declared: ReadonlySet<string>;
  readonly #problems: Problems;
  readonly #report: LintReport;

  constructor(
    dockerfile: Dockerfile,
    options: PlanOptions,
    globalArgs: ReadonlyMap<string, string>,
    problems: Problems,
    report: LintReport,
  ) {
    this.#dockerfile = dockerfile;
    this.#globalArgs = globalArgs;
    const entries = dockerfile.globals.flatMap((arg) => arg.entries);
    this.#declared = new Set([...entries.map(({ name }) => name.text), ...globalArgs.keys()]);
    this.#problems = problems;
    this.#report = report;
    this.contexts = new Set([...(options.contexts ?? [])].map((name) => name.toLowerCase()));
    this.targetPlatform = formatPlatform(options.targetPlatform);
  }

  plan(stage: Stage): PlannedStage {
    const { from } = stage;
    const image = this.#problems.attempt(() => this.#image(from));
    const platform = this.#problems.attempt(() => this.#platform(from));
    const wanted = platform === undefined ? this.targetPlatform : formatPlatform(platform.value);
    const instead = findContext(stage.name ?? "", this.contexts, wanted);
    const isReplaced = instead !== undefined;
    const base: StageBase = isReplaced
      ? { kind: "context", name: instead }
      : this.#base(stage, image?.value ?? "", wanted);
    const inherited = base.kind === "stage" ? this.#planned[base.index]?.platform : platform?.value;
    if (stage.name !== undefined) this.names.set(stage.name, stage.index);
    const planned: PlannedStage = {
      stage: isReplaced ? { ...stage, instructions: [] } : stage,
      base,
      triggers: [],
      needs: new Set(),
      ...(inherited === undefined || base.kind === "scratch" ? {} : { platform: inherited }),
    };
    this.#planned.push(planned);
    if (image !== undefined) {
      const found = { stage, image, ...(platform && { platform: platform.expansion }) };
      lintFrom(found, this.#declared, this.#globalArgs, this.#report);
    }
    return planned;
  }

  #scope(used: Set<string>): Scope {
    const get = (name: string): string | undefined => {
      const value = this.#globalArgs.get(name);
      if (value !== undefined) used.add(name);
      return value;
    };
    return { escape: this.#dockerfile.escape, get };
  }

  #image(from: From): Expansion {
    const expansion = expand(from.image, this.#scope(new Set()));
    if (expansion.value === "") {
      const match = closest(expansion.unset[0] ?? "", this.#globalArgs.keys());
      const help = "only ARGs before the first FROM can be used in it; give them a default";
      const hint = match === undefined ? help : `did you mean ${match}?`;
      const message = `base name (${from.image.text}) should not be blank`;
      fail("base-name", message, from.image.span, hint);
    }
    return expansion;
  }

  #platform(
    from: From,
  ): { value: Platform; expansion: NonNullable<ExpandedFrom["platform"]> } | undefined {
    if (from.platform === undefined || from.platform.value.text === "") return undefined;
    const { value: word, span } = from.platform;
    const used = new Set<string>();
    const expansion = { ...expand(word, this.#scope(used)), used };
    const tail = didYouMean(expansion.unset[0] ?? "", this.#globalArgs.keys());
    if (expansion.value === "") {
      fail("platform", `empty platform value from expression ${word.text}${tail}`, span);
    }
    try {
      return { value: parsePlatform(expansion.value), expansion };
    } catch (error) {
      if (!(error instanceof TsbuildError)) throw error;
      const message = `failed to parse platform ${word.text}: ${error.message}${tail}`;
      fail("platform", message, span, error.hint);
    }
  }

  #base(stage: Stage, image: string, platform: string): StageBase {
    const index = this.names.get(image);
    if (index !== undefined) return { kind: "stage", index };
    if (image === "scratch") return { kind: "scratch" };
    const context = matchContext(image, this.contexts, platform);
    if (context !== undefined) return { kind: "context", name: context };
    // Also where nothing needs the stage.
    if (image !== "") this.#problems.attempt(() => checkReference(image, stage.from.image.span));
    return { kind: "image", name: image };
  }
}

/**
 * By name in any case; without a target the last stage. A number names no stage here, as in BuildKit: stages that are put
 * in front must not change what is built.
 */
function findTarget(stages: readonly Stage[], target: string | undefined): Stage | undefined {
  if (target === undefined || target === "") return stages.at(-1);
  return stages.findLast(({ name }) => name === target.toLowerCase());
}

function refuseTarget(target: string, stages: readonly Stage[]): never {
  const match = closest(
    target.toLowerCase(),
    stages.flatMap(({ name }) => name ?? []),
  );
  const tail = match === undefined ? "" : ` (did you mean ${match}?)`;
  const message = `target stage ${quote(target)} could not be found${tail}`;
  const span = stages.at(-1)?.from.span;
  if (span === undefined) throw new TsbuildError("DOCKERFILE_INVALID", message);
  fail("target", message, span, `the stages are: ${stages.map(nameOf).join(", ")}`);
}

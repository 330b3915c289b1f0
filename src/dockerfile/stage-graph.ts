import { TsbuildError } from "../errors.js";
import { formatReference, parseReference, withDefaultTag } from "../oci/reference.js";
import { fail } from "./diagnostic.js";
import { quote } from "./go-values.js";
import type { FromSource, PlannedStage, Span, Stage, StagePlan } from "./types.js";

/** Lower-case names of the stages read so far. */
export type Names = Map<string, number>;
type Lookup = Pick<StagePlan, "names" | "contexts" | "all" | "targetPlatform">;

/** A stage's name for people: as written, or its number. */
export function nameOf({ from, index }: Pick<Stage, "from" | "index">): string {
  return from.asText ?? `stage-${index}`;
}

/**
 * The context of that name. One that is for a platform, `name::linux/arm64`, comes before one that is for all.
 * @param platform as `formatPlatform` writes it
 */
export function findContext(
  name: string,
  contexts: ReadonlySet<string>,
  platform: string,
): string | undefined {
  const lower = name.toLowerCase();
  return [`${lower}::${platform}`, lower].find((one) => contexts.has(one));
}

/** The context that takes an image's place: named as in the Dockerfile, or by any spelling of the same reference. */
export function matchContext(
  image: string,
  contexts: ReadonlySet<string>,
  platform: string,
): string | undefined {
  const lower = image.toLowerCase();
  if (lower === "scratch" || lower === "context") return undefined;
  const found = findContext(image, contexts, platform);
  const wanted = found === undefined ? normalized(image) : undefined;
  if (wanted === undefined) return found;
  const names = [...contexts];
  const ending = `::${platform}`;
  const own = names.filter((name) => name.endsWith(ending));
  return (
    own.find((name) => normalized(name.slice(0, -ending.length)) === wanted) ??
    names.find((name) => normalized(name) === wanted)
  );
}

function normalized(image: string): string | undefined {
  try {
    return formatReference(withDefaultTag(parseReference(image)));
  } catch (error) {
    if (error instanceof TsbuildError) return undefined; // a context may have any name
    throw error;
  }
}

/** Refuses what can name no image, also where nothing needs the stage. @throws Fault */
export function checkReference(image: string, span: Span): void {
  try {
    parseReference(image);
  } catch (error) {
    if (!(error instanceof TsbuildError)) throw error;
    fail("base-name", error.message, span, error.hint);
  }
}

/** The stage that `COPY --from` or a mount's `from` names: by name in any case, of two the later; or by number. */
export function findStage(
  name: string,
  names: ReadonlyMap<string, number>,
  count: number,
): number | undefined {
  const named = names.get(name.toLowerCase());
  if (named !== undefined) return named;
  return /^[0-9]+$/.test(name) && Number(name) < count ? Number(name) : undefined;
}

interface Use {
  readonly index: number;
  readonly name: string;
  readonly span: Span;
  readonly target: string | undefined;
}

/** The stages that a stage's instructions and triggers name. */
function usesOf(planned: PlannedStage, plan: Lookup): readonly Use[] {
  const uses: Use[] = [];
  const add = (name: string, span: Span, target?: string): void => {
    if (findContext(name, plan.contexts, plan.targetPlatform) !== undefined) return;
    const index = findStage(name, plan.names, plan.all.length);
    if (index !== undefined) uses.push({ index, name, span, target });
    else if (matchContext(name, plan.contexts, plan.targetPlatform) === undefined) {
      checkReference(name, span);
    }
  };
  for (const instruction of [...planned.triggers, ...planned.stage.instructions]) {
    if (instruction.kind === "COPY" && instruction.from !== undefined) {
      checkNumber(instruction.from.value, instruction.from.span, plan);
      add(instruction.from.value, instruction.from.span);
    }
    if (instruction.kind !== "RUN") continue;
    for (const mount of instruction.mounts) {
      if ((mount.type === "bind" || mount.type === "cache") && mount.from !== undefined) {
        add(mount.from, mount.span, mount.target?.text ?? "");
      }
    }
  }
  return uses;
}

/**
 * A mount that names no stage counts as one that names "scratch": BuildKit looks for what it is called, and a stage may
 * have that name.
 */
function circleUses(planned: PlannedStage, plan: Lookup): readonly Use[] {
  const uses = usesOf(planned, plan);
  const scratch = plan.names.get("scratch");
  if (scratch === undefined) return uses;
  const unnamed = [...planned.triggers, ...planned.stage.instructions]
    .flatMap((instruction) => (instruction.kind === "RUN" ? instruction.mounts : []))
    .filter((mount) => !("from" in mount) || mount.from === undefined)
    .map(({ span }) => ({ index: scratch, name: "scratch", span, target: "" }));
  return [...uses, ...unnamed];
}

function checkNumber(name: string, span: Span, plan: Lookup): void {
  if (!/^[-+]?[0-9]+$/.test(name) || plan.names.has(name)) return;
  const index = Number(name);
  if (index >= 0 && index < plan.all.length) return;
  fail(
    "from",
    `invalid stage index ${index}`,
    span,
    `the file has ${plan.all.length} stages, from 0`,
  );
}

/**
 * Walks from every stage to those it uses, with a stack of its own: a file may have more stages than calls can nest.
 * @throws Fault when a stage uses itself, directly or through others
 */
export function checkCircles(plan: Lookup): void {
  const open = new Set<number>();
  const closed = new Set<number>();
  const path: { readonly planned: PlannedStage; readonly uses: Iterator<Use> }[] = [];
  const enter = (index: number): void => {
    const planned = plan.all[index];
    if (planned === undefined || closed.has(index)) return;
    open.add(index);
    path.push({ planned, uses: circleUses(planned, plan).values() });
  };
  for (const start of plan.all.keys()) {
    enter(start);
    for (let top = path.at(-1); top !== undefined; top = path.at(-1)) {
      const next = top.uses.next();
      if (next.done === true) {
        path.pop();
        open.delete(top.planned.stage.index);
        closed.add(top.planned.stage.index);
      } else if (open.has(next.value.index)) {
        const name = nameOf(top.planned.stage);
        const message = `circular dependency detected on stage: ${name}`;
        const hint = "a stage can only use stages that stand before it";
        fail("circular", message, next.value.span, hint);
      } else enter(next.value.index);
    }
  }
}

/** @throws Fault when a stage that is needed uses one that stands behind it */
export function refuseLaterStage(planned: PlannedStage, plan: Lookup): void {
  const current = planned.stage;
  for (const { index, name, span, target } of usesOf(planned, plan)) {
    if (index < current.index) continue;
    const message =
      target === undefined
        ? `cannot copy from stage ${quote(name)}, it needs to be defined before current stage ${quote(nameOf(current))}`
        : `cannot mount from stage ${quote(name)} to ${quote(target)}, stage needs to be defined before current command`;
    fail("stage-order", message, span, "move that stage up");
  }
}

/** Base and sources of a stage, those before it. */
export function needsOf(planned: PlannedStage, plan: Lookup): ReadonlySet<number> {
  const needs = new Set<number>();
  if (planned.base.kind === "stage") needs.add(planned.base.index);
  for (const { index } of usesOf(planned, plan)) {
    if (index < planned.stage.index) needs.add(index);
  }
  return needs;
}

/**
 * What `COPY --from=name` or `--mount=from=name` means in a stage: a context of that name, else a stage before it, else
 * an image.
 */
export function resolveFrom(plan: StagePlan, stageIndex: number, name: string): FromSource {
  // Whatever the stage's own platform is: as in BuildKit, only a FROM has a --platform.
  const named = findContext(name, plan.contexts, plan.targetPlatform);
  if (named !== undefined) return { kind: "context", name: named };
  const index = findStage(name, plan.names, plan.all.length);
  if (index !== undefined && index < stageIndex) return { kind: "stage", index };
  if (name === "scratch") return { kind: "scratch" };
  const context = matchContext(name, plan.contexts, plan.targetPlatform);
  return context === undefined ? { kind: "image", name } : { kind: "context", name: context };
}

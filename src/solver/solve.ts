import { setMaxListeners } from "node:events";
import { lintViolation } from "../dockerfile/index.js";
import type { Diagnostic } from "../dockerfile/types.js";
import { TsbuildError } from "../errors.js";
import type { Image } from "../oci/types.js";
import { explainSteps, type ExplainedStep } from "./cache/explained.js";
import { StepCache } from "./cache/step-cache.js";
import { dryRun, type Foreseen } from "./dry-run.js";
import { finished } from "./finish.js";
import { openRunServices } from "./run-services.js";
import { openSharedServices } from "./shared-services.js";
import { materialize } from "./materialize.js";
import type { RunServices, SharedServices } from "./services.js";
import { inOneLayer } from "./single-layer.js";
import { stageSteps } from "./stage.js";
import { sealOptions } from "./tools.js";
import type { SolveInput } from "./types.js";

/** What one platform is built from. */
export type SolvePlan = Pick<SolveInput, "plan" | "options">;
/** What all platforms have in common. */
export type SolveCommon = Omit<SolveInput, "plan" | "options">;

/**
 * Builds the target for each platform. Every stage that one needs starts at once and waits where it needs another one;
 * what platforms and stages have in common is done once. The first failure stops the rest.
 * @returns the images in the order of the plans; their layers are in the store or at their origin
 */
export async function solve(
  common: SolveCommon,
  plans: readonly SolvePlan[],
): Promise<readonly Image[]> {
  const stop = new AbortController();
  const signal = AbortSignal.any([common.signal, stop.signal]);
  // Every step that runs listens to it, in as many stages as there are; Node would take more than ten for a leak.
  setMaxListeners(0, signal);
  const inputs = plans.map((each) => ({ ...common, ...each, signal }));
  const shared = openSharedServices(inputs);
  const foreseen = await foresee(inputs, shared);
  checkFirst(inputs, findings(inputs, foreseen));
  const cache = common.cache && new StepCache(common.cache, signal, common.faults);
  const platforms = await openRunServices(inputs, shared, foreseen, cache);
  common.emit({ type: "plan", steps: stageSteps(platforms) });
  const running = platforms.flatMap((services) =>
    services.needed.map((index) => services.stage(index)),
  );
  try {
    await Promise.all(running);
  } catch (error) {
    stop.abort(error);
    // The others still hold views: nothing may go on behind the caller's back.
    await Promise.allSettled(running);
    throw error;
  }
  const images = await Promise.all(platforms.map(result));
  const [image] = images;
  const [input] = inputs;
  if (input?.options.materialize === true && image !== undefined) {
    await materialize(image, shared.layers, { ...input, signal });
  }
  return images;
}

async function result(services: RunServices): Promise<Image> {
  const { input, layers } = services;
  const { plan, options } = input;
  const image = finished(await services.stage(plan.target), options);
  if (options.singleSnapshot !== true) return image;
  const seal = sealOptions(options, true, image.format);
  return inOneLayer(image, { layers, input, seal });
}

/**
 * Everything that can be known without building: what the lint rules say of the Dockerfile, the plans and the expanded
 * words. @throws DockerfileError when it cannot be built at all
 */
export async function lint(
  common: SolveCommon,
  plans: readonly SolvePlan[],
): Promise<readonly Diagnostic[]> {
  const inputs = plans.map((each) => ({ ...common, ...each }));
  return findings(inputs, await foresee(inputs, openSharedServices(inputs)));
}

/** What a build would take from the cache, platform by platform, and why it would not take the rest. */
export async function explain(
  common: SolveCommon,
  plans: readonly SolvePlan[],
): Promise<readonly ExplainedStep[]> {
  const { cache: book } = common;
  if (book === undefined) {
    throw new TsbuildError("USAGE", "there is nothing to explain without a cache", {
      hint: "leave --cache=false out",
    });
  }
  const inputs = plans.map((each) => ({ ...common, ...each }));
  const shared = openSharedServices(inputs);
  const foreseen = await foresee(inputs, shared);
  const cache = new StepCache(book, common.signal, common.faults);
  const explained: ExplainedStep[] = [];
  for (const [at, input] of inputs.entries()) {
    const stages = foreseen[at]?.stages ?? new Map<number, never>();
    explained.push(...(await explainSteps({ input, shared, foreseen: stages, cache })));
  }
  return explained;
}

async function foresee(
  inputs: readonly SolveInput[],
  shared: SharedServices,
): Promise<readonly Foreseen[]> {
  const foreseen: Foreseen[] = [];
  for (const input of inputs) foreseen.push(await dryRun({ ...shared, input }));
  return foreseen;
}

/** Platforms mostly have the same faults: each is said once. */
function findings(
  inputs: readonly SolveInput[],
  foreseen: readonly Foreseen[],
): readonly Diagnostic[] {
  const found = new Map<string, Diagnostic>();
  for (const [at, { warnings, plan }] of inputs.entries()) {
    // Some have no place of their own, and may well come twice for one platform.
    const times = new Map<string, number>();
    for (const one of [...warnings, ...plan.warnings, ...(foreseen[at]?.warnings ?? [])]) {
      const key = JSON.stringify([one.code, one.message, one.span.file.path, one.span.start]);
      const time = (times.get(key) ?? 0) + 1;
      times.set(key, time);
      const known = `${time} ${key}`;
      if (!found.has(known)) found.set(known, one);
    }
  }
  return [...found.values()];
}

/** Says what the lint rules found, and stops where the Dockerfile asks for that. */
function checkFirst(inputs: readonly SolveInput[], found: readonly Diagnostic[]): void {
  const [first] = inputs;
  if (first === undefined) throw new TsbuildError("INTERNAL", "there is no platform to build for");
  for (const diagnostic of found) first.emit({ type: "warning", diagnostic });
  const violation = lintViolation(found, first.plan.check);
  if (violation === undefined) return;
  throw new TsbuildError("DOCKERFILE_INVALID", violation, {
    hint: "the Dockerfile says check=error=true: mend what the warnings say, or skip their rules",
  });
}

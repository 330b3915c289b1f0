import { availableParallelism } from "node:os";
import type { FileSource } from "../context/types.js";
import { lintViolation } from "../dockerfile/index.js";
import type { Diagnostic, StagePlan } from "../dockerfile/types.js";
import { TsbuildError } from "../errors.js";
import { scratchImage } from "../oci/image.js";
import { formatPlatform } from "../oci/platform.js";
import type { Image, Platform } from "../oci/types.js";
import { createSemaphore } from "../internal/semaphore.js";
import { dryRun } from "./dry-run.js";
import { imageOfFiles } from "./file-images.js";
import { fromImage } from "./from-image.js";
import { Layers } from "./layers.js";
import type { StageServices } from "./services.js";
import { solveStage, stageSteps } from "./stage.js";
import { createdAt } from "./state.js";
import type { SolveInput, StageState } from "./types.js";

/**
 * Builds the target. Every stage that it needs starts at once and waits where it needs another one; the first failure
 * stops the rest. @returns the image, whose layers are in the store or at their origin.
 */
export async function solve(input: SolveInput): Promise<Image> {
  const stop = new AbortController();
  const signal = AbortSignal.any([input.signal, stop.signal]);
  const services = createServices({ ...input, signal });
  await checkFirst(services);
  input.emit({ type: "plan", steps: stageSteps(input.plan) });
  const running = [...input.plan.stages.keys()].map((index) => services.stage(index));
  try {
    await Promise.all(running);
  } catch (error) {
    stop.abort(error);
    // The others still hold views: nothing may go on behind the caller's back.
    await Promise.allSettled(running);
    throw error;
  }
  return finished(await services.stage(input.plan.target), input);
}

/**
 * Everything that can be known without building: what the lint rules say of the Dockerfile, the plan and the expanded
 * words. @throws DockerfileError when it cannot be built at all
 */
export function lint(input: SolveInput): Promise<readonly Diagnostic[]> {
  return findings(createServices(input));
}

async function findings(services: StageServices): Promise<readonly Diagnostic[]> {
  const { plan, warnings } = services.input;
  return [...warnings, ...plan.warnings, ...(await dryRun(services))];
}

/** Says what the lint rules found, and stops where the Dockerfile asks for that. */
async function checkFirst(services: StageServices): Promise<void> {
  const { plan, emit } = services.input;
  const found = await findings(services);
  for (const diagnostic of found) emit({ type: "warning", diagnostic });
  const violation = lintViolation(found, plan.check);
  if (violation === undefined) return;
  throw new TsbuildError("DOCKERFILE_INVALID", violation, {
    hint: "the Dockerfile says check=error=true: mend what the warnings say, or skip their rules",
  });
}

function createServices(input: SolveInput): StageServices {
  const stages = new Map<number, Promise<StageState>>();
  const images = new Map<string, Promise<Image>>();
  const layouts = new Map<string, Promise<Image>>();
  const files = new Map<string, Promise<Image>>();
  const services: StageServices = {
    input,
    layers: new Layers(input),
    exported: exportedStages(input.plan),
    steps: createSemaphore(Math.max(2, availableParallelism())),
    stage: (index) => remember(stages, index, () => solveStage(index, services)),
    image: (name, platform) =>
      remember(images, `${formatPlatform(platform)} ${name}`, () => pull(name, platform, input)),
    contextImage: (name, platform) => {
      const context = input.contexts.get(name);
      if (context?.kind === "image") return services.image(context.reference, platform);
      if (context?.kind === "layout") {
        const key = JSON.stringify([formatPlatform(platform), name]);
        return remember(layouts, key, () => context.load(platform));
      }
      return services.filesImage(name, "");
    },
    filesImage: (name, path) =>
      remember(files, JSON.stringify([name, path]), async () =>
        imageOfFiles(await openContext(name, input), path, input),
      ),
  };
  return services;
}

function openContext(name: string | undefined, input: SolveInput): Promise<FileSource> {
  if (name === undefined) return input.context();
  const context = input.contexts.get(name);
  if (context?.kind === "files") return context.open();
  throw new TsbuildError("INTERNAL", `there is no named context "${name}"`);
}

async function pull(name: string, platform: Platform, input: SolveInput): Promise<Image> {
  if (name === "scratch") return scratchImage(platform);
  return fromImage(name, platform, input);
}

function remember<K, V>(map: Map<K, Promise<V>>, key: K, make: () => Promise<V>): Promise<V> {
  const known = map.get(key);
  if (known !== undefined) return known;
  const promise = make();
  map.set(key, promise);
  // Whoever awaits it sees the failure; nobody else must be told of an unhandled one.
  promise.catch(() => undefined);
  return promise;
}

/** The target and the stages that it is made from: their layers leave the machine, so theirs are compressed. */
function exportedStages(plan: StagePlan): ReadonlySet<number> {
  const exported = new Set<number>();
  let index: number | undefined = plan.target;
  while (index !== undefined) {
    exported.add(index);
    const base: StagePlan["stages"] extends ReadonlyMap<number, infer S> ? S | undefined : never =
      plan.stages.get(index);
    index = base?.base.kind === "stage" ? base.base.index : undefined;
  }
  return exported;
}

/** What belongs to the result alone: the labels of the command line, the platform, the time. */
function finished(state: StageState, { options }: SolveInput): Image {
  const { image } = state;
  const labels = { ...image.config.labels, ...Object.fromEntries(options.labels) };
  const created = createdAt(options) ?? image.history.at(-1)?.created ?? image.config.created;
  return {
    ...image,
    format: options.imageFormat ?? image.format,
    config: {
      ...image.config,
      labels,
      ...(created === undefined ? {} : { created }),
      platform: options.platformRequested ? options.targetPlatform : image.config.platform,
    },
  };
}

import { formatReference } from "../oci/reference.js";
import type { ExplainedStep } from "../solver/cache/explained.js";
import type { Emit } from "../solver/types.js";
import { destinationsOf } from "./destinations.js";
import { outputsOf } from "./export.js";
import type { BuildOptions } from "./options.js";
import { runExplain } from "./run-explain.js";

/** What a build would do. */
export interface BuildPlan {
  /** Those that make layers, in the order of the Dockerfile, platform by platform. */
  readonly steps: readonly ExplainedStep[];
  /** References, with their registry; what is pushed by its digest as the repository alone. */
  readonly pushed: readonly string[];
  /** Files and directories. */
  readonly written: readonly string[];
}

/** A build as far as nothing is made by it. A build without a cache has a plan too: everything is made anew. */
export async function runPlan(
  options: BuildOptions,
  emit: Emit,
  signal: AbortSignal,
): Promise<BuildPlan> {
  const { pushed, byDigest } = destinationsOf(options);
  const { digestFile, iidFile, metadataFile } = options;
  const { imageNameWithDigestFile, imageNameTagWithDigestFile } = options;
  const files = [imageNameWithDigestFile, imageNameTagWithDigestFile, digestFile];
  const results = [metadataFile, iidFile, ...files].filter((path) => path !== undefined);
  const explained = options.cache === false ? { ...options, cache: true, noCache: true } : options;
  return {
    steps: await runExplain(explained, emit, signal),
    pushed: [...pushed, ...byDigest].map((reference) => formatReference(reference)),
    written: [...outputsOf(options).map(({ dest }) => dest), ...results],
  };
}

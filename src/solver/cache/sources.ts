import type { FromSource } from "../../dockerfile/types.js";
import type { Image } from "../../oci/types.js";
import type { SharedServices } from "../services.js";
import type { ImageContents, SolveInput } from "../types.js";

type Elsewhere = Exclude<FromSource, { readonly kind: "stage" }>;

/** What decides the files of a source that is no stage; `undefined` for files of a named context, which are looked at. */
export async function imageDefinition(
  from: Elsewhere,
  { contexts, options }: SolveInput,
  shared: SharedServices,
): Promise<string | undefined> {
  // As in BuildKit, whatever the stage's own platform is.
  const platform = options.targetPlatform;
  if (from.kind === "scratch") return "scratch";
  if (from.kind === "image") return definitionOf(await shared.image(from.name, platform));
  if (contexts.get(from.name)?.kind === "files") return undefined;
  return definitionOf(await shared.contextImage(from.name, platform));
}

function definitionOf({ layers }: Image): string {
  return layers.map(({ diffId }) => diffId).join(" ");
}

/** Opens the files of a named context; nothing else has any before it is built or pulled. */
export function openFiles(
  from: FromSource,
  { contexts }: SolveInput,
): (() => Promise<ImageContents>) | undefined {
  const context = from.kind === "context" ? contexts.get(from.name) : undefined;
  if (context?.kind !== "files") return undefined;
  return async () => ({ ...(await context.open()), prepare: () => Promise.resolve() });
}

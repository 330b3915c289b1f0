import { sourcePlan } from "./cache/options.js";
import { openPlace, type OpenPlaceInput } from "./cache/open-place.js";
import { SharedMounts } from "./cache/shared-mounts.js";
import { TsbuildError } from "../errors.js";
import type { Emit } from "../solver/types.js";
import type { Worker } from "../worker/types.js";
import type { BuildOptions } from "./options.js";

const LAYOUT = "oci:";

export interface OpenMountsInput extends OpenPlaceInput {
  readonly worker: () => Promise<Worker>;
  readonly emit: Emit;
}

/** Cache mounts that machines share; `undefined`: none. @throws TsbuildError USAGE */
export function openCacheMounts(
  { cacheMounts: given, compression = "gzip", compressionLevel: level }: BuildOptions,
  input: OpenMountsInput,
): SharedMounts | undefined {
  if (given === undefined) return undefined;
  const { place, name } = sourcePlan(
    given.startsWith(LAYOUT)
      ? { type: "local", src: given.slice(LAYOUT.length) }
      : { type: "registry", ref: given },
  );
  if ("digest" in name || (place.kind === "layout" && place.path === "")) {
    throw new TsbuildError("USAGE", `cache mounts cannot be kept in "${given}"`, {
      hint: "expected repository:tag, or oci:DIRECTORY",
    });
  }
  const seal = { compression, format: "oci", ...(level === undefined ? {} : { level }) } as const;
  return new SharedMounts(openPlace(place, input), name.tag, { ...input, seal });
}

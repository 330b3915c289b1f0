import type { FileSource } from "../context/types.js";
import { scratchImage } from "../oci/image.js";
import { resolvePath } from "../oci/resolve-path.js";
import type { Image } from "../oci/types.js";
import { planCopy } from "./copy/index.js";
import { createdNs } from "./state.js";
import { packSealed } from "./pack.js";
import type { SolveInput } from "./types.js";

/**
 * Files as an image of one layer, so that a worker can mount them: the whole source, or only what is at `path`, at its
 * own place.
 */
export async function imageOfFiles(
  source: FileSource,
  path: string,
  input: SolveInput,
): Promise<Image> {
  const { options } = input;
  const image = scratchImage(options.targetPlatform);
  // A path through a symlink needs what the link leads to.
  const resolved = resolvePath(source.tree, path, "follow");
  const whole = path === "" || resolved.path !== path;
  const found = resolved.entry !== undefined;
  const item = whole
    ? ({ kind: "path", source, path: "" } as const)
    : ({
        kind: "parents",
        source,
        base: "",
        // What is there is named by a pattern, what is missing by its path.
        pattern: found ? escapePattern(path) : path,
        required: !found,
      } as const);
  const changes = planCopy({
    items: [item],
    target: "/",
    workdir: "/",
    root: { lstat: () => undefined, list: () => [], read: () => undefined },
    createdNs: createdNs(options),
    link: true,
  });
  const layer = await packSealed(changes, { compression: "none", format: "oci" }, input);
  return { ...image, layers: [{ descriptor: layer.descriptor, diffId: layer.diffId }] };
}

/** A path whose wildcards are letters. */
function escapePattern(path: string): string {
  return path.replace(/[*?[\\]/g, "\\$&");
}

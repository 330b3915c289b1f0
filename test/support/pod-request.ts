/** What runs in a Pod, for whichever of the two runners; and the image that it runs. */
import type { PodContext } from "./pod-contexts.js";

export type PodVolume =
  | { readonly kind: "empty"; readonly path: string; readonly medium: "disk" | "memory" }
  | {
      readonly kind: "secret";
      readonly path: string;
      /** File names and contents; files are readable for everyone, as a Secret's are by default. */
      readonly files: Readonly<Record<string, string>>;
    }
  | {
      readonly kind: "host";
      readonly path: string;
      readonly source: string;
      readonly readOnly?: boolean;
    };

export interface PodRequest {
  readonly context: PodContext;
  /** The image's name in podman's store. */
  readonly image: string;
  /** Takes the place of the image's ENTRYPOINT; then its CMD does not count. */
  readonly command?: readonly string[];
  /** Takes the place of the image's CMD. */
  readonly args?: readonly string[];
  readonly env?: Readonly<Record<string, string>>;
  readonly workingDir?: string;
  /** Besides the context's own. */
  readonly volumes?: readonly PodVolume[];
}

/** All volumes: the context's emptyDirs, unless a volume of the request has their place. */
export function volumesOf(request: PodRequest): readonly PodVolume[] {
  const own = request.volumes ?? [];
  const taken = new Set(own.map((volume) => volume.path));
  const empty = request.context.emptyDirs
    .filter((dir) => !taken.has(dir.path))
    .map((dir): PodVolume => ({ kind: "empty", ...dir }));
  return [...empty, ...own];
}

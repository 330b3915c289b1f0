import { TsbuildError } from "../../errors.js";
import type { InPlaceOptions } from "../types.js";
import type { NamespaceOptions } from "./namespace.js";
import type { Sandbox } from "./types.js";

export interface InPlaceSandboxOptions extends Pick<NamespaceOptions, "scratch" | "env" | "calls"> {
  readonly inPlace: InPlaceOptions | undefined;
}

/** Runs each step with "/" as its root. @throws TsbuildError HOST_UNSUPPORTED */
export function createInPlaceSandbox(_options: InPlaceSandboxOptions): Sandbox {
  throw new TsbuildError("HOST_UNSUPPORTED", "this build of tsbuild cannot rewrite /");
}

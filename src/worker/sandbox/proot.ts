import { TsbuildError } from "../../errors.js";
import type { NamespaceOptions } from "./namespace.js";
import type { Sandbox } from "./types.js";

export type ProotSandboxOptions = Pick<NamespaceOptions, "scratch" | "env" | "calls">;

/** Runs each step below proot. @throws TsbuildError HOST_UNSUPPORTED */
export function createProotSandbox(_options: ProotSandboxOptions): Sandbox {
  throw new TsbuildError("HOST_UNSUPPORTED", "this build of tsbuild cannot use proot");
}

import type { Request } from "./protocol.js";
import type { RefusedDriver } from "./types.js";

/** Whether "/" may be rewritten: only container root, in a container that is thrown away. */
export function probeInPlace(
  _request: Extract<Request, { op: "probeWithout" }>,
): Omit<RefusedDriver, "driver"> | undefined {
  return { because: "this build of tsbuild lacks it", allowedBy: "another driver" };
}

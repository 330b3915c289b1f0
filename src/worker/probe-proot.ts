import type { Request } from "./protocol.js";
import type { RefusedDriver } from "./types.js";

/** Whether proot runs here. */
export function probeProot(
  _request: Extract<Request, { op: "probeWithout" }>,
): Omit<RefusedDriver, "driver"> | undefined {
  return { because: "this build of tsbuild lacks it", allowedBy: "another driver" };
}

import { mkdtempSync, rmSync } from "node:fs";
import { TOOLS_PATH } from "./namespaces.js";
import type { Request } from "./protocol.js";
import { findProot } from "./sandbox/proot-program.js";
import type { RefusedDriver } from "./types.js";

/** Whether proot runs here; `undefined` when it does. */
export async function probeProot({
  staging,
}: Extract<Request, { op: "probeWithout" }>): Promise<Omit<RefusedDriver, "driver"> | undefined> {
  const scratch = mkdtempSync(`${staging}/probe-`);
  try {
    const found = await findProot({ path: TOOLS_PATH, scratch });
    if (!("because" in found)) return undefined;
    return {
      because: found.because,
      allowedBy:
        "the program proot in the path, and a kernel and seccomp profile that allow ptrace",
    };
  } finally {
    rmSync(scratch, { recursive: true, force: true });
  }
}

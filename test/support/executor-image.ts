/** The executor image, built once by this checkout, and the plain Debian that it is built from. */
import { readFile, rm } from "node:fs/promises";
import { join } from "node:path";
import { bootstrapSuite } from "./bases-debian.js";
import { cached, writeLayout } from "./bases.js";

const SUITE = "trixie";

/** A layout of what `debian:trixie-slim` is, able to reach the package mirror that this machine uses. */
export function executorBase(): Promise<string> {
  return cached(`debian-${SUITE}`, async (dir) => {
    const archive = join(dir, "debian.tar");
    await bootstrapSuite(dir, archive, { suite: SUITE });
    const layer = await readFile(archive);
    await rm(archive);
    await writeLayout(dir, { layers: [layer], cmd: ["bash"] });
  });
}

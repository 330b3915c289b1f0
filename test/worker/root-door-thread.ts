import { mkdirSync, readdirSync, readFileSync, writeFileSync } from "node:fs";
import { readFile } from "node:fs/promises";
import { parentPort, workerData } from "node:worker_threads";
import { loadLibc } from "../../src/worker/linux/libc.js";
import { openMountCalls } from "../../src/worker/linux/mount.js";
import { openPlaceCalls } from "../../src/worker/linux/place.js";
import { openProcessCalls } from "../../src/worker/linux/process.js";
import { openRootDoor } from "../../src/worker/root-enter.js";

/** Goes into a root, looks and writes around through its symlinks, comes back, and says what it saw. */
async function main(): Promise<void> {
  const { root, refuseChroot } = workerData as { root: string; refuseChroot: boolean };
  const libc = loadLibc();
  const place = openPlaceCalls(libc);
  const refused = (): never => {
    throw Object.assign(new Error("refused"), { code: "EPERM" });
  };
  const door = openRootDoor({
    process: openProcessCalls(libc),
    mounts: openMountCalls(libc),
    place: refuseChroot ? { ...place, chroot: refused } : place,
  });
  const seen: Record<string, unknown> = {};
  for (const round of ["first", "second"]) {
    door.enter(root);
    writeFileSync(`/absolute/${round}`, round);
    writeFileSync(`climbing/${round}`, round);
    mkdirSync(`mode-${round}`, 0o777);
    seen[round] = readdirSync("/");
    // On another thread, which is outside.
    seen[`${round} async`] = await readFile("/proc/self/comm", "utf8").then(() => "outside");
    door.leave();
    seen[`${round} after`] = readFileSync(`${root}/target/${round}`, "utf8");
  }
  parentPort?.postMessage(seen);
}

await main();

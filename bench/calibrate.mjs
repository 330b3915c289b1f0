// What the machine is worth at the moment: seconds of commands that are the same everywhere.
import { spawnSync } from "node:child_process";
import { mkdirSync } from "node:fs";
import { join } from "node:path";
import { median } from "./report.mjs";
import { stepCommand } from "./workloads/generate.mjs";

const TIMES = 5;

/** The environment of what is measured: ours without what makes Node start slower here than elsewhere. */
export function environment() {
  const { NODE_OPTIONS: _, NODE_EXTRA_CA_CERTS: __, ...rest } = process.env;
  return rest;
}

/**
 * Medians of five, in seconds: `nodeStart` of `node -e 0`, `help` of `tsbuild --help`, and `step` of the command of one of
 * W2's steps, which is run in `dir`. `at` is when.
 */
export function calibrate(dir, app) {
  const root = join(dir, "calibration");
  mkdirSync(join(root, "etc"), { recursive: true });
  return {
    at: new Date().toISOString(),
    nodeStart: middle(() => [process.execPath, "-e", "0"]),
    help: middle(() => [app.node, join(app.dir, "bin/tsbuild.js"), "--help"]),
    step: middle((i) => ["sh", "-c", stepCommand(i, root)]),
  };
}

function middle(argvOf) {
  return median(
    Array.from({ length: TIMES }, (_, i) => {
      const [command, ...args] = argvOf(i);
      const began = process.hrtime.bigint();
      const { status } = spawnSync(command, args, { stdio: "ignore", env: environment() });
      if (status !== 0) throw new Error(`${command} ended with ${status}`);
      return Number(process.hrtime.bigint() - began) / 1e9;
    }),
  );
}

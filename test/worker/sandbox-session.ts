/**
 * A program for the tests: opens a worker, tells of the host on one line of JSON, then runs one shell step after the
 * other and tells of each. It is bundled, so that another user or a killer can have it as a process of its own.
 */
import { existsSync, mkdirSync } from "node:fs";
import { parseDiffId } from "../../src/oci/digest.js";
import { startWorker } from "../../src/worker/start.js";
import type { DriverName } from "../../src/worker/types.js";
import type { StepOptions } from "./sandbox-stage.js";

export interface SessionInput {
  readonly driver: "auto" | DriverName;
  readonly staging: string;
  /** An uncompressed layer. */
  readonly layer: { readonly diffId: string; readonly path: string };
  readonly steps: readonly { readonly script: string; readonly options?: StepOptions }[];
}

const input = JSON.parse(process.argv[2] ?? "") as SessionInput;
const say = (value: unknown): void => void process.stdout.write(`${JSON.stringify(value)}\n`);
const signal = AbortSignal.timeout(170_000);
const worker = await startWorker({
  driver: input.driver,
  staging: input.staging,
  layersDirectory: (idMap) => {
    const directory = `${input.staging}/layers-${idMap}`;
    mkdirSync(directory, { recursive: true });
    return Promise.resolve(directory);
  },
  cachesDirectory: (idMap) => {
    const directory = `${input.staging}/caches-${idMap}`;
    mkdirSync(directory, { recursive: true });
    return Promise.resolve(directory);
  },
  abandoned: [],
  signal,
});
say(worker.host);
const diffId = parseDiffId(input.layer.diffId);
const view = await worker.prepare([{ ...input.layer, diffId, compression: "none" }], signal);
for (const { script, options } of input.steps) {
  let text = "";
  const output = ({ chunk }: { chunk: Uint8Array }): void => {
    text += Buffer.from(chunk).toString();
    if (text.includes("waiting")) say({ waiting: true });
  };
  const spec = {
    argv: ["sh", "-c", script] as const,
    env: { PATH: "/usr/sbin:/usr/bin:/sbin:/bin" },
    cwd: "/",
    uid: 0,
    gid: 0,
    groups: [0],
    hostname: "step",
    mounts: [],
    network: "host" as const,
    hosts: "",
    resolvConf: "",
    ...options,
  };
  const result = await view.run(spec, { output }, signal).then(
    (status) => ({ status, text }),
    (error: unknown) => ({ error: String(error), text }),
  );
  say(result);
}
await view[Symbol.asyncDispose]();
await worker[Symbol.asyncDispose]();
say({ staged: existsSync(input.staging) });

/** A stage of a small image, in a real worker, for the tests of what a step sees and leaves behind. */
import { createHash } from "node:crypto";
import { mkdir, readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { parseDiffId } from "../../src/oci/digest.js";
import type { ExitStatus, ProcessSpec } from "../../src/worker/sandbox/types.js";
import { startWorker } from "../../src/worker/start.js";
import type { DriverName, LayerBlob, StepSpec, View, Worker } from "../../src/worker/types.js";
import { busyboxTar } from "../support/bases.js";
import { readTar, writeTar, type TarEntry, type TarInput } from "../support/tools-tar.js";
import { tempDir } from "../support/tools.js";

/** A little less than a test has: what is late then says so itself. */
const PATIENCE_MS = 170_000;

export interface Outcome {
  readonly status: ExitStatus;
  readonly stdout: string;
  readonly stderr: string;
}

export type StepOptions = Partial<StepSpec> & { readonly signal?: AbortSignal };

export interface Stage {
  readonly view: View;
  run(command: string | readonly [string, ...string[]], options?: StepOptions): Promise<Outcome>;
  /** The script's standard output; throws unless it ends with 0. */
  sh(script: string, options?: StepOptions): Promise<string>;
  /** What changed since the last time, as the entries of the layer's tar. */
  seal(): Promise<readonly TarEntry[]>;
}

export interface Lab extends AsyncDisposable {
  readonly dir: string;
  readonly worker: Worker;
  /** A root of the small system and, above it, layers of these entries. */
  stage(...layers: readonly (readonly TarInput[])[]): Promise<Stage>;
}

/** @param caches Where caches last; no step can have one without it. */
export async function openLab(driver: "auto" | DriverName, caches?: string): Promise<Lab> {
  const temp = await tempDir("tsbuild-sandbox-");
  const staging = join(temp.path, "staging");
  await mkdir(staging);
  const worker = await startWorker({
    driver,
    staging,
    layersDirectory: async (idMap) => {
      const directory = join(temp.path, "layers", idMap);
      await mkdir(directory, { recursive: true });
      return directory;
    },
    ...(caches === undefined ? {} : { cachesDirectory: () => Promise.resolve(caches) }),
    abandoned: [],
    signal: AbortSignal.timeout(PATIENCE_MS),
  });
  return {
    dir: temp.path,
    worker,
    async stage(...layers) {
      const tars = [await busyboxTar(), ...layers.map((entries) => writeTar(entries))];
      const blobs = await Promise.all(tars.map((tar) => writeBlob(temp.path, tar)));
      return openStage(await worker.prepare(blobs, AbortSignal.timeout(PATIENCE_MS)));
    },
    async [Symbol.asyncDispose]() {
      await worker[Symbol.asyncDispose]();
      await temp[Symbol.asyncDispose]();
    },
  };
}

export async function writeBlob(dir: string, tar: Uint8Array): Promise<LayerBlob> {
  const hex = createHash("sha256").update(tar).digest("hex");
  const path = join(dir, `${hex}.tar`);
  await writeFile(path, tar);
  return { diffId: parseDiffId(`sha256:${hex}`), path, compression: "none" };
}

/** A root's shell step, in which only the small system's programs are found. */
export function processSpec(argv: readonly [string, ...string[]]): ProcessSpec {
  return {
    argv,
    env: { PATH: "/usr/sbin:/usr/bin:/sbin:/bin", HOME: "/root" },
    cwd: "/",
    uid: 0,
    gid: 0,
    groups: [0],
    hostname: "step",
    mounts: [],
    network: "host",
    hosts: "127.0.0.1\tlocalhost step\n",
    resolvConf: "nameserver 192.0.2.53\n",
  };
}

function openStage(view: View): Stage {
  const run: Stage["run"] = async (command, { signal, ...options } = {}) => {
    const out = { stdout: "", stderr: "" };
    const argv = typeof command === "string" ? (["sh", "-c", command] as const) : command;
    const status = await view.run(
      { ...processSpec(argv), ...options },
      {
        output: ({ stream, chunk }) => {
          out[stream] += Buffer.from(chunk).toString("latin1");
        },
      },
      signal ?? AbortSignal.timeout(PATIENCE_MS),
    );
    return { status, ...out };
  };
  return {
    view,
    run,
    async sh(script, options) {
      const { status, stdout, stderr } = await run(script, options);
      if (status.kind === "exited" && status.code === 0) return stdout;
      throw new Error(`${script}: ${JSON.stringify(status)}\n${stdout}${stderr}`);
    },
    async seal() {
      const signal = AbortSignal.timeout(PATIENCE_MS);
      const { blobFile } = await view.seal({ compression: "none", format: "oci" }, signal);
      return readTar(await readFile(blobFile));
    },
  };
}

/** `name` of every entry but the root directory's own. */
export function namesOf(entries: readonly TarEntry[]): readonly string[] {
  return entries
    .map(({ name }) => name.replace(/^\.\//, "").replace(/\/$/, ""))
    .filter((name) => name !== "" && name !== ".");
}

import { constants } from "node:os";
import type { Readable, Writable } from "node:stream";
import { messageOf, TsbuildError } from "../../errors.js";
import type { ProotFailure } from "./proot-order.js";
import { NOT_EXECUTABLE, NOT_FOUND } from "./program.js";
import { readReport } from "./proot-starter.js";
import type { SandboxSpec } from "./types.js";

/** What the processes before a step's command say of themselves. */
export interface StepReport {
  /** Settles with the last of them that could say something; never rejects. */
  readonly ended: Promise<void>;
  /** The command's process, once it is known. */
  pid(): number | undefined;
  /** Why there was no command. */
  failure(spec: SandboxSpec): TsbuildError | undefined;
}

export function openReport(from: Readable | Writable | null | undefined): StepReport {
  const chunks: Uint8Array[] = [];
  let broken: string | undefined;
  const said = (): Buffer => Buffer.concat(chunks);
  const read = async (): Promise<void> => {
    try {
      for await (const chunk of from as Readable) chunks.push(chunk as Uint8Array);
    } catch (error) {
      broken = messageOf(error);
    }
  };
  return {
    ended: read(),
    pid: () => (isText(said()) ? undefined : readReport(said()).pid),
    failure: (spec) => {
      if (isText(said())) broken = (JSON.parse(said().toString()) as ProotFailure).message;
      if (broken !== undefined) {
        return new TsbuildError("HOST_UNSUPPORTED", `tried to start proot: ${broken}`);
      }
      const { pid, errno } = readReport(said());
      return pid === undefined || errno === undefined ? undefined : startFailure(spec, errno);
    },
  };
}

function isText(said: Buffer): boolean {
  return said[0] === "{".charCodeAt(0);
}

function startFailure({ argv }: SandboxSpec, errno: number): TsbuildError {
  const name = Object.entries(constants.errno).find(([, value]) => value === errno)?.[0];
  const exitCode = name === "ENOENT" ? NOT_FOUND : NOT_EXECUTABLE;
  const message = `tried to run ${argv[0]}: exec: "${argv[0]}": ${name ?? `errno ${errno}`}`;
  return new TsbuildError("RUN_FAILED", message, { exitCode });
}

import { spawn } from "node:child_process";
import { errnoOf } from "../errors.js";
import { redactText } from "../internal/redact.js";
import { basicSecret } from "./docker-config.js";
import type { Secret } from "./types.js";

export type HelperAnswer =
  | { readonly kind: "found"; readonly secret: Secret }
  /** The helper works and knows nothing of this server. */
  | { readonly kind: "unknown" }
  /** The helper could not be asked; the text says why, for people. */
  | { readonly kind: "failed"; readonly reason: string };

export interface HelperOptions {
  /** The whole environment of the child; its PATH finds the program. */
  readonly environment: Readonly<Record<string, string | undefined>>;
  readonly timeoutMs: number;
  readonly signal: AbortSignal;
}

/** How the reason ends where there is no such program. */
export const NOT_INSTALLED = "is not installed";

const NAME = /^[A-Za-z0-9][A-Za-z0-9._-]*$/;
/** Bytes; an answer is one small object. */
const MAX_OUTPUT = 1024 * 1024;
const MAX_SHOWN = 200;

/** Runs `docker-credential-<helper> get`: https://github.com/docker/docker-credential-helpers#development */
export async function askHelper(
  helper: string,
  server: string,
  options: HelperOptions,
): Promise<HelperAnswer> {
  if (!NAME.test(helper)) return { kind: "failed", reason: "its name is not a program's" };
  const program = `docker-credential-${helper}`;
  const { environment, timeoutMs, signal } = options;
  signal.throwIfAborted();
  let result: { readonly code: number | null; readonly output: string };
  try {
    result = await run(
      program,
      server,
      environment,
      AbortSignal.any([signal, AbortSignal.timeout(timeoutMs)]),
    );
  } catch (error) {
    signal.throwIfAborted();
    if (errnoOf(error) === "ENOENT")
      return { kind: "failed", reason: `${program} ${NOT_INSTALLED}` };
    const why =
      error instanceof Error && error.name === "AbortError"
        ? `did not answer in ${timeoutMs / 1000} s`
        : `could not be run (${errnoOf(error) ?? "unknown reason"})`;
    return { kind: "failed", reason: `${program} ${why}` };
  }
  if (result.code === 0) return parseAnswer(program, result.output);
  if (/credentials not found/i.test(result.output)) return { kind: "unknown" };
  const said = redactText(result.output).replace(/\s+/g, " ").trim().slice(0, MAX_SHOWN);
  return { kind: "failed", reason: `${program} failed${said === "" ? "" : `: ${said}`}` };
}

function run(
  program: string,
  input: string,
  environment: Readonly<Record<string, string | undefined>>,
  signal: AbortSignal,
): Promise<{ readonly code: number | null; readonly output: string }> {
  return new Promise((resolve, reject) => {
    const child = spawn(program, ["get"], {
      env: { ...environment },
      stdio: ["pipe", "pipe", "ignore"],
      signal,
      killSignal: "SIGKILL",
    });
    let output = "";
    child.stdout.setEncoding("utf8").on("data", (text: string) => {
      output += text;
      if (output.length > MAX_OUTPUT) child.kill("SIGKILL");
    });
    // A helper that ends without reading is judged by its exit code.
    child.stdin.on("error", () => {});
    child.stdin.end(`${input}\n`);
    child.on("error", reject);
    child.on("close", (code) => resolve({ code, output }));
  });
}

function parseAnswer(program: string, output: string): HelperAnswer {
  const malformed = {
    kind: "failed",
    reason: `${program} gave an answer of an unknown form`,
  } as const;
  let value: unknown;
  try {
    value = JSON.parse(output);
  } catch {
    return malformed;
  }
  if (typeof value !== "object" || value === null) return malformed;
  const username: unknown = Reflect.get(value, "Username");
  const secret: unknown = Reflect.get(value, "Secret");
  if (typeof username !== "string" || typeof secret !== "string") return malformed;
  if (secret === "") return { kind: "unknown" };
  return { kind: "found", secret: basicSecret(username, secret) };
}

/** Runs real programs for the tests: what they printed, how they ended, and whether they exist at all. */
import { spawn, type ChildProcess } from "node:child_process";
import { accessSync, constants } from "node:fs";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";

export interface Outcome {
  /** The exit code, or `null` when a signal ended the program. */
  readonly code: number | null;
  readonly signal: NodeJS.Signals | null;
  readonly stdout: string;
  readonly stderr: string;
}

export interface RunOptions {
  readonly cwd?: string;
  /** The whole environment; the test's own when absent. */
  readonly env?: NodeJS.ProcessEnv;
  readonly input?: string | Uint8Array;
  /** Milliseconds until SIGKILL; ten minutes when absent. */
  readonly timeoutMs?: number;
  /** Sees the child as soon as it runs, for tests that send signals. */
  readonly onStart?: (child: ChildProcess) => void;
}

const DEFAULT_TIMEOUT_MS = 600_000;

/** Runs a program to its end. Never throws for a bad exit code; throws when it cannot be started. */
export function run(
  command: string,
  args: readonly string[],
  options: RunOptions = {},
): Promise<Outcome> {
  return new Promise((resolve, reject) => {
    const child = spawn(command, args, {
      cwd: options.cwd,
      env: options.env ?? process.env,
      stdio: ["pipe", "pipe", "pipe"],
    });
    const out: Buffer[] = [];
    const err: Buffer[] = [];
    child.stdout.on("data", (chunk: Buffer) => out.push(chunk));
    child.stderr.on("data", (chunk: Buffer) => err.push(chunk));
    child.stdin.on("error", () => {}); // a program may end without reading its input
    child.stdin.end(options.input ?? "");
    const timer = setTimeout(() => child.kill("SIGKILL"), options.timeoutMs ?? DEFAULT_TIMEOUT_MS);
    child.once("error", (error) => {
      clearTimeout(timer);
      reject(error);
    });
    child.once("close", (code, signal) => {
      clearTimeout(timer);
      resolve({
        code,
        signal,
        stdout: Buffer.concat(out).toString("utf8"),
        stderr: Buffer.concat(err).toString("utf8"),
      });
    });
    options.onStart?.(child);
  });
}

/** Runs a program that has to succeed, and answers what it printed. */
export async function mustRun(
  command: string,
  args: readonly string[],
  options: RunOptions = {},
): Promise<string> {
  const outcome = await run(command, args, options);
  if (outcome.code !== 0) {
    throw new Error(
      `${command} ${args.join(" ")} ended with ${outcome.code ?? outcome.signal}:\n${outcome.stdout}${outcome.stderr}`,
    );
  }
  return outcome.stdout;
}

/** The path of a program, looked for where Debian keeps them, the administrator's folders included. */
export function findTool(name: string): string | undefined {
  const folders = [...(process.env["PATH"] ?? "").split(":"), "/usr/sbin", "/sbin", "/usr/bin"];
  for (const folder of folders) {
    const path = join(folder, name);
    try {
      accessSync(path, constants.X_OK);
      return path;
    } catch {
      // the next folder
    }
  }
  return undefined;
}

/** Why a test that needs these programs cannot run here; `undefined` when it can. */
export function lacksTools(...names: readonly string[]): string | undefined {
  const missing = names.filter((name) => findTool(name) === undefined);
  return missing.length === 0 ? undefined : `not installed: ${missing.join(", ")}`;
}

/** Why a test that needs to be root cannot run here; `undefined` when it can. */
export function lacksRoot(): string | undefined {
  return process.getuid?.() === 0 ? undefined : "needs root";
}

export interface TempDir extends AsyncDisposable {
  readonly path: string;
}

/** A fresh directory, removed with everything in it at the end of the scope. */
export async function tempDir(prefix = "tsbuild-test-"): Promise<TempDir> {
  const path = await mkdtemp(join(tmpdir(), prefix));
  return {
    path,
    async [Symbol.asyncDispose](): Promise<void> {
      await removeTree(path);
    },
  };
}

/** Removes a tree; unpacked layers in it may belong to subordinate ids, which only their namespace can remove. */
export async function removeTree(path: string): Promise<void> {
  try {
    await rm(path, { recursive: true, force: true });
  } catch {
    await mustRun("unshare", ["--map-root-user", "--map-auto", "rm", "-rf", path]);
  }
}

/** A machine that does other things may take long for anything; only a test that fails waits for so long. */
const PATIENCE_MS = 120_000;

/** Waits until `check` answers something, asking every `everyMs` milliseconds, and throws after `timeoutMs`. */
export async function eventually<T>(
  what: string,
  check: () => T | undefined | Promise<T | undefined>,
  { timeoutMs = PATIENCE_MS, everyMs = 25 }: { timeoutMs?: number; everyMs?: number } = {},
): Promise<T> {
  const end = Date.now() + timeoutMs;
  for (;;) {
    const value = await check();
    if (value !== undefined) return value;
    if (Date.now() > end) throw new Error(`waited ${timeoutMs} ms for ${what}`);
    await new Promise((resolve) => setTimeout(resolve, everyMs));
  }
}

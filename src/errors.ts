/** Every way a build can fail, with the exit code the command line uses for it (docs/exit-codes.md). */
export const ERROR_CODES = {
  /** A RUN command failed; its own exit code, or 128 + signal, takes the place of this one. */
  RUN_FAILED: 1,
  /** A flag or an option is wrong. */
  USAGE: 64,
  /** The Dockerfile is wrong; carries diagnostics with spans. */
  DOCKERFILE_INVALID: 65,
  /** The context, or a file that COPY or ADD names, cannot be read. */
  CONTEXT_UNREADABLE: 66,
  /** No driver fits this machine; the hint says what is missing. */
  HOST_UNSUPPORTED: 69,
  /** Ours to fix. */
  INTERNAL: 70,
  /** The disk is full, or what the store holds is damaged. */
  STORE_FAILED: 74,
  /** The registry cannot be reached, or does not have what was asked. */
  REGISTRY_UNAVAILABLE: 75,
  /** The registry refused the credential, or the lack of one. */
  REGISTRY_DENIED: 77,
  /** Ctrl-C, SIGTERM, or the caller's AbortSignal. */
  ABORTED: 130,
} as const;
export type ErrorCode = keyof typeof ERROR_CODES;

export interface ErrorOptions {
  readonly cause?: unknown;
  /** One sentence on what to try next. Never a secret. */
  readonly hint?: string;
  /** Only for RUN_FAILED: the command's own exit code. */
  readonly exitCode?: number;
}

/** What tsbuild throws on purpose. The message reads "tried to X: Y" and names the path, reference or line. */
export class TsbuildError extends Error {
  override readonly name: string = "TsbuildError";
  readonly code: ErrorCode;
  readonly hint: string | undefined;
  readonly exitCode: number;

  constructor(code: ErrorCode, message: string, options: ErrorOptions = {}) {
    super(message, options.cause === undefined ? undefined : { cause: options.cause });
    this.code = code;
    this.hint = options.hint;
    this.exitCode = options.exitCode ?? ERROR_CODES[code];
  }
}

/** The text of anything that was thrown. */
export function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}

/** The errno name of a failed system call, as Node and our own wrappers set it. */
export function errnoOf(error: unknown): string | undefined {
  if (!(error instanceof Error) || !("code" in error)) return undefined;
  return typeof error.code === "string" ? error.code : undefined;
}

/** Closes a switch over a union: a new member is then a compile error. */
export function unreachable(value: never): never {
  throw new TsbuildError("INTERNAL", `unexpected value ${JSON.stringify(value)}`);
}

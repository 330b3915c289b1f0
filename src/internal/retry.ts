import { setTimeout as sleep } from "node:timers/promises";
import { errnoOf } from "../errors.js";

export interface RetryPolicy {
  /** How often the work is tried altogether, at least 1. */
  readonly attempts: number;
  /** Milliseconds before the second try; doubled for each one after it. */
  readonly firstDelayMs: number;
  /** No wait is longer, except one that the server asks for. */
  readonly maxDelayMs: number;
  /** A server that asks for a longer wait than this is not waited for. */
  readonly maxRetryAfterMs: number;
}

export const DEFAULT_RETRY: RetryPolicy = {
  attempts: 5,
  firstDelayMs: 300,
  maxDelayMs: 8_000,
  maxRetryAfterMs: 60_000,
};

/** Thrown by the work when an answer says that a later try may succeed. */
export class TransientError extends Error {
  override readonly name: string = "TransientError";
  /** Milliseconds that the server asked for (Retry-After). */
  readonly retryAfterMs: number | undefined;

  constructor(message: string, options: { retryAfterMs?: number; cause?: unknown } = {}) {
    super(message, options.cause === undefined ? undefined : { cause: options.cause });
    this.retryAfterMs = options.retryAfterMs;
  }
}

const TRANSIENT_CODES: ReadonlySet<string> = new Set([
  "ECONNRESET",
  "ECONNREFUSED",
  "ECONNABORTED",
  "EPIPE",
  "ETIMEDOUT",
  "EHOSTUNREACH",
  "ENETUNREACH",
  "ENETDOWN",
  "EAI_AGAIN",
  "UND_ERR_SOCKET",
  "UND_ERR_CONNECT_TIMEOUT",
  "UND_ERR_HEADERS_TIMEOUT",
  "UND_ERR_BODY_TIMEOUT",
  "UND_ERR_RES_CONTENT_LENGTH_MISMATCH",
  "HPE_INVALID_EOF_STATE",
]);

/** Whether the same request may succeed later: broken and refused connections, timeouts, {@link TransientError}. */
export function isTransient(error: unknown): boolean {
  if (error instanceof TransientError) return true;
  return TRANSIENT_CODES.has(errnoOf(error) ?? "");
}

/** The answers after which the same request may succeed later. */
export function isTransientStatus(status: number): boolean {
  return [408, 429, 500, 502, 503, 504].includes(status);
}

/** Milliseconds that a Retry-After header asks for: seconds or an HTTP date (RFC 9110, 10.2.3). */
export function parseRetryAfter(value: string | undefined, nowMs: number): number | undefined {
  if (value === undefined) return undefined;
  const text = value.trim();
  if (/^\d+$/.test(text)) return Number(text) * 1000;
  const date = Date.parse(text);
  return Number.isNaN(date) ? undefined : Math.max(0, date - nowMs);
}

/**
 * Milliseconds to wait after the `failures`-th failure in a row, or `undefined` when it is time to give up. A random
 * part (half of the wait) keeps clients that failed together from coming back together.
 */
export function nextDelay(
  policy: RetryPolicy,
  failures: number,
  error: unknown,
  random: () => number = Math.random,
): number | undefined {
  if (failures >= policy.attempts || !isTransient(error)) return undefined;
  const asked = error instanceof TransientError ? error.retryAfterMs : undefined;
  if (asked !== undefined && asked > policy.maxRetryAfterMs) return undefined;
  const backoff = Math.min(policy.maxDelayMs, policy.firstDelayMs * 2 ** (failures - 1));
  return Math.max(asked ?? 0, backoff * (0.5 + random() / 2));
}

/**
 * Runs `work` until it succeeds, fails for good, or has been tried often enough; then throws its last error. `work`
 * must be safe to run again, and is told which try it is, from 1.
 */
export async function retry<T>(
  policy: RetryPolicy,
  signal: AbortSignal,
  work: (attempt: number) => Promise<T>,
): Promise<T> {
  for (let attempt = 1; ; attempt++) {
    signal.throwIfAborted();
    try {
      return await work(attempt);
    } catch (error) {
      signal.throwIfAborted();
      const delay = nextDelay(policy, attempt, error);
      if (delay === undefined) throw error;
      await pause(delay, signal);
    }
  }
}

/** Waits; on an abort throws the signal's reason. */
export async function pause(ms: number, signal: AbortSignal): Promise<void> {
  try {
    await sleep(ms, undefined, { signal });
  } catch (error) {
    signal.throwIfAborted();
    throw error;
  }
}

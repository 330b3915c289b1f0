import { describe, expect, test } from "vitest";
import {
  DEFAULT_RETRY,
  isTransient,
  isTransientStatus,
  nextDelay,
  parseRetryAfter,
  retry,
  TransientError,
} from "../../src/internal/retry.js";

const QUICK = { ...DEFAULT_RETRY, attempts: 4, firstDelayMs: 1, maxDelayMs: 2 };
const never = new AbortController().signal;
const coded = (code: string): Error => Object.assign(new Error(code), { code });

test("resets, refusals and timeouts are worth another try; a wrong name and our own errors are not", () => {
  for (const code of [
    "ECONNRESET",
    "ECONNREFUSED",
    "EPIPE",
    "ETIMEDOUT",
    "EAI_AGAIN",
    "UND_ERR_SOCKET",
  ]) {
    expect(isTransient(coded(code))).toBe(true);
  }
  for (const code of ["ENOTFOUND", "CERT_HAS_EXPIRED", "ENOENT"]) {
    expect(isTransient(coded(code))).toBe(false);
  }
  expect([408, 429, 500, 502, 503, 504].every(isTransientStatus)).toBe(true);
  expect([400, 401, 403, 404, 501].some(isTransientStatus)).toBe(false);
});

test("Retry-After is read as seconds and as a date", () => {
  const now = Date.parse("2026-01-01T00:00:00Z");
  expect(parseRetryAfter("7", now)).toBe(7000);
  expect(parseRetryAfter("Thu, 01 Jan 2026 00:00:09 GMT", now)).toBe(9000);
  expect(parseRetryAfter("Thu, 01 Jan 2020 00:00:00 GMT", now)).toBe(0);
  expect(parseRetryAfter("soon", now)).toBeUndefined();
  expect(parseRetryAfter(undefined, now)).toBeUndefined();
});

describe("delays", () => {
  const policy = { attempts: 6, firstDelayMs: 100, maxDelayMs: 1000, maxRetryAfterMs: 5000 };
  const error = new TransientError("later");

  test("they double up to a limit, and half of each is random", () => {
    const high = [1, 2, 3, 4, 5].map((failures) => nextDelay(policy, failures, error, () => 1));
    expect(high).toEqual([100, 200, 400, 800, 1000]);
    expect(nextDelay(policy, 3, error, () => 0)).toBe(200);
    expect(nextDelay(policy, 6, error)).toBeUndefined();
  });

  test("what the server asks for is the least, and too much of it ends the tries", () => {
    expect(nextDelay(policy, 1, new TransientError("x", { retryAfterMs: 3000 }))).toBe(3000);
    expect(nextDelay(policy, 1, new TransientError("x", { retryAfterMs: 9000 }))).toBeUndefined();
  });
});

describe("retry", () => {
  test("gives the first success, and tells each try its number", async () => {
    const tries: number[] = [];
    const result = await retry(QUICK, never, async (attempt) => {
      tries.push(attempt);
      if (attempt < 3) throw coded("ECONNRESET");
      return "done";
    });
    expect(result).toBe("done");
    expect(tries).toEqual([1, 2, 3]);
  });

  test("gives up with the last error after the last try, at once after another kind of error", async () => {
    let tries = 0;
    const work = (code: string): Promise<never> =>
      retry(QUICK, never, async () => {
        tries++;
        throw coded(code);
      });
    await expect(work("EPIPE")).rejects.toThrow("EPIPE");
    expect(tries).toBe(4);
    await expect(work("ENOENT")).rejects.toThrow("ENOENT");
    expect(tries).toBe(5);
  });

  test("an abort ends a wait with the signal's reason", async () => {
    const controller = new AbortController();
    const slow = { ...DEFAULT_RETRY, firstDelayMs: 3_600_000, maxDelayMs: 3_600_000 };
    setTimeout(() => controller.abort(new Error("enough")), 20);
    await expect(
      retry(slow, controller.signal, async () => {
        throw coded("EPIPE");
      }),
    ).rejects.toThrow("enough");
  });
});

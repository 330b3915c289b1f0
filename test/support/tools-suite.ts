/** Suites that say why they are skipped. Apart from `tools.ts`, which scripts without vitest load too. */
import { describe, expect } from "vitest";
import type { Outcome } from "./tools.js";

/** A `describe` that skips, with the reason printed, when any reason is given. */
export function describeUnless(
  reasons: readonly (string | undefined)[],
  name: string,
  body: () => void,
): void {
  const reason = reasons.filter((r) => r !== undefined).join("; ");
  if (reason !== "") console.warn(`skipped: ${name}: ${reason}`);
  describe.skipIf(reason !== "")(name, body);
}

/** Expects the exit code, and shows what the program printed when it is another one. */
export function expectCode(outcome: Outcome, code: number): void {
  const { stdout, stderr, signal } = outcome;
  expect(outcome.code, `signal ${signal}\n${stdout.slice(-4_000)}\n${stderr.slice(-4_000)}`).toBe(
    code,
  );
}

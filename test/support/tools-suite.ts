/** Suites that say why they are skipped. Apart from `tools.ts`, which scripts without vitest load too. */
import { describe } from "vitest";

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

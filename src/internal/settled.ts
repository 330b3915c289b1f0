/**
 * A file that was changed that little before it was read may be changed once more without its times telling: clocks of
 * filesystems go in ticks. Nanoseconds.
 */
const FRESH = 100_000_000n;
/** The same for filesystems that know whole seconds alone (FAT has two). */
const FRESH_SECONDS = 2_000_000_000n;
const NS_PER_MS = 1_000_000n;
const NS_PER_SECOND = 1_000_000_000n;

/** Times before which a file must have changed last, for a later change to show in its times. */
export interface SettledBefore {
  readonly exact: bigint;
  readonly wholeSeconds: bigint;
}

/** @param now when reading begins, in milliseconds since the epoch */
export function settledBefore(now: number): SettledBefore {
  const time = BigInt(now) * NS_PER_MS;
  return { exact: time - FRESH, wholeSeconds: time - FRESH_SECONDS };
}

/** @param time of a file, in nanoseconds since the epoch */
export function isSettled(time: bigint, { exact, wholeSeconds }: SettledBefore): boolean {
  if (time < wholeSeconds) return true;
  return time < exact && time % NS_PER_SECOND !== 0n;
}

/**
 * A file that was changed that little before it was read may be changed once more without its times telling: clocks of
 * filesystems go in ticks. Milliseconds.
 */
const FRESH_MS = 100;
/** The same for filesystems that know whole seconds alone (FAT has two). */
const FRESH_SECONDS_MS = 2000;
const NS_PER_MS = 1_000_000n;
const NS_PER_SECOND = 1_000_000_000n;

/** Times before which a file must have changed last, for a later change to show in its times. */
export interface SettledBefore {
  readonly exact: bigint;
  readonly wholeSeconds: bigint;
}

/** @param now when reading begins, in milliseconds since the epoch */
export function settledBefore(now: number): SettledBefore {
  return {
    exact: BigInt(now - FRESH_MS) * NS_PER_MS,
    wholeSeconds: BigInt(now - FRESH_SECONDS_MS) * NS_PER_MS,
  };
}

/** @param time of a file, in nanoseconds since the epoch */
export function isSettled(time: bigint, { exact, wholeSeconds }: SettledBefore): boolean {
  if (time < wholeSeconds) return true;
  return time < exact && time % NS_PER_SECOND !== 0n;
}

/**
 * The same for a time that is not in one number, and to the microsecond.
 * @param now when reading begins, in milliseconds since the epoch
 */
export function hasSettledSince(seconds: number, nanoseconds: number, now: number): boolean {
  const age = now - (seconds * 1000 + nanoseconds / 1_000_000);
  return age > FRESH_SECONDS_MS || (age > FRESH_MS && nanoseconds !== 0);
}

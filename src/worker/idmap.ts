/** One line of /proc/PID/uid_map (user_namespaces(7)). */
export interface IdRange {
  readonly inside: number;
  readonly outside: number;
  readonly count: number;
}

export interface IdMap {
  readonly uids: readonly IdRange[];
  readonly gids: readonly IdRange[];
}

/** The ranges that /etc/subuid or /etc/subgid (subuid(5)) gives a user, who may stand there by name or by number. */
export function parseSubordinate(
  text: string,
  name: string | undefined,
  uid: number,
): readonly Omit<IdRange, "inside">[] {
  return text.split("\n").flatMap((line) => {
    const [owner, start, count] = line.trim().split(":");
    if (owner === undefined || (owner !== name && owner !== String(uid))) return [];
    const range = { outside: Number(start), count: Number(count) };
    const isSound = Number.isSafeInteger(range.outside) && range.count > 0;
    return isSound ? [range] : [];
  });
}

/** Root is the caller; 1 and up are the subordinate ranges, one after the other. */
export function mapWithSubordinate(
  id: number,
  ranges: readonly Omit<IdRange, "inside">[],
): readonly IdRange[] {
  const lines: IdRange[] = [{ inside: 0, outside: id, count: 1 }];
  let inside = 1;
  for (const { outside, count } of ranges) {
    lines.push({ inside, outside, count });
    inside += count;
  }
  return lines;
}

/** Every id that is mapped where we are, as itself: what container root may give a namespace below its own. */
export function identityOf(procMap: string): readonly IdRange[] {
  return procMap
    .trim()
    .split("\n")
    .map((line) => line.trim().split(/\s+/).map(Number))
    .map(([inside = 0, , count = 0]) => ({ inside, outside: inside, count }));
}

/** First outer id of a namespace below container root that may not contain root itself; the usual first subordinate id. */
const SHIFTED_FROM = 100_000;
/** What every distribution's users and groups fit into. */
const SHIFTED_COUNT = 65_536;

/**
 * A range of the ids that we have, without our 0: 65536 of them from 100000 where we have these, else the largest.
 * `own` is what {@link identityOf} gives.
 */
export function shiftedBelow(own: readonly IdRange[]): IdRange | undefined {
  const fitting = own.map(({ inside, count }) => {
    const end = inside + count;
    const usual = inside <= SHIFTED_FROM && end >= SHIFTED_FROM + SHIFTED_COUNT;
    const outside = usual ? SHIFTED_FROM : Math.max(inside, 1);
    return { inside: 0, outside, count: Math.min(SHIFTED_COUNT, end - outside) };
  });
  const [best] = fitting.toSorted((a, b) => b.count - a.count);
  // A single id is what every user may have.
  return best !== undefined && best.count > 1 ? best : undefined;
}

/** As the kernel reads it. */
export function formatRanges(ranges: readonly IdRange[]): string {
  return ranges.map(({ inside, outside, count }) => `${inside} ${outside} ${count}\n`).join("");
}

/** A directory name for the map: owners and capabilities of unpacked files differ by it. */
export function nameOf({ uids, gids }: IdMap): string {
  const name = (ranges: readonly IdRange[]): string =>
    ranges.map(({ inside, outside, count }) => `${inside}-${outside}-${count}`).join("_");
  return name(uids) === name(gids) ? name(uids) : `${name(uids)}_g_${name(gids)}`;
}

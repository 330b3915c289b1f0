/** A suggestion differs in fewer edits than this (BuildKit's measure). */
const MAX_DISTANCE = 3;

/** Insertions, deletions and replacements, one edit each. */
function distance(a: string, b: string): number {
  let previous = Array.from({ length: b.length + 1 }, (_, index) => index);
  for (let i = 1; i <= a.length; i += 1) {
    const row = [i];
    for (let j = 1; j <= b.length; j += 1) {
      const replace = (previous[j - 1] ?? 0) + (a[i - 1] === b[j - 1] ? 0 : 1);
      row.push(Math.min(replace, (previous[j] ?? 0) + 1, (row[j - 1] ?? 0) + 1));
    }
    previous = row;
  }
  return previous[b.length] ?? 0;
}

function sorted(text: string): string {
  return Array.from(text).toSorted().join("");
}

/** The option that `text` was probably meant to be; of equals one that has the same letters, else the first. None when it is one of them. */
export function closest(text: string, options: Iterable<string>): string | undefined {
  let best: string | undefined;
  let bound = MAX_DISTANCE;
  for (const option of options) {
    if (option === text) return undefined;
    if (Math.abs(option.length - text.length) > bound) continue;
    const edits = distance(text, option);
    const isSwapped = best !== undefined && edits === bound && sorted(option) === sorted(text);
    if (edits < bound || isSwapped) {
      best = option;
      bound = edits;
    }
  }
  return best;
}

/** ` (did you mean X?)`, or nothing. */
export function didYouMean(text: string, options: Iterable<string>): string {
  const match = closest(text, options);
  return match === undefined ? "" : ` (did you mean ${match}?)`;
}

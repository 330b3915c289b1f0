/** One element of a shell pattern as `${name#pattern}` takes it: no bracket classes. */
type Token = "any" | "star" | { readonly char: string };

/** Why a pattern cannot be read. The pattern is not repeated: a variable's value may be part of it. */
export class PatternError extends Error {}

/**
 * Reads a pattern: `*`, `?`, and the escapes `\*`, `\?`, `\\`; `\}` and `\/` are only there to get past `${…}`.
 * @throws PatternError
 */
export function parsePattern(pattern: string): readonly Token[] {
  const tokens: Token[] = [];
  const chars = Array.from(pattern);
  for (let at = 0; at < chars.length; at += 1) {
    const char = chars[at] ?? "";
    if (char === "*") tokens.push("star");
    else if (char === "?") tokens.push("any");
    else if (char === "\\") {
      const next = chars[at + 1];
      if (next === "}" || next === "/") continue;
      if (next !== "*" && next !== "?" && next !== "\\") {
        throw new PatternError(`invalid escape '\\${next ?? ""}'`);
      }
      tokens.push({ char: next });
      at += 1;
    } else tokens.push({ char });
  }
  return tokens;
}

/** As in Go's regular expressions, which BuildKit uses, no wildcard matches a newline. */
function eats(token: Token | undefined, char: string): boolean {
  if (token === undefined) return false;
  return typeof token === "string" ? char !== "\n" : token.char === char;
}

/**
 * All the states at once (bit i: the first i tokens have matched), so that no pattern takes longer than its length
 * times the text's.
 */
class States {
  readonly #tokens: readonly Token[];
  #live: Uint8Array;

  constructor(tokens: readonly Token[]) {
    this.#tokens = tokens;
    this.#live = new Uint8Array(tokens.length + 1);
  }

  /** Lets a match begin here. */
  begin(): void {
    this.#reach(this.#live, 0);
  }

  get accepted(): boolean {
    return this.#live[this.#tokens.length] === 1;
  }

  get dead(): boolean {
    return !this.#live.includes(1);
  }

  step(char: string): void {
    const next = new Uint8Array(this.#live.length);
    for (let state = 0; state < this.#tokens.length; state += 1) {
      if (this.#live[state] !== 1) continue;
      const token = this.#tokens[state];
      if (eats(token, char)) this.#reach(next, token === "star" ? state : state + 1);
    }
    this.#live = next;
  }

  /** A star may also match nothing. */
  #reach(live: Uint8Array, state: number): void {
    for (let at = state; live[at] !== 1; at += 1) {
      live[at] = 1;
      if (this.#tokens[at] !== "star") return;
    }
  }
}

/** Length of the shortest or longest match at `from`; -1: none. */
function matchAt(
  tokens: readonly Token[],
  chars: readonly string[],
  from: number,
  longest: boolean,
): number {
  const states = new States(tokens);
  states.begin();
  let found = -1;
  for (let at = from; ; at += 1) {
    if (states.accepted) {
      found = at - from;
      if (!longest) return found;
    }
    if (at >= chars.length || states.dead) return found;
    states.step(chars[at] ?? "");
  }
}

/** `${value#pattern}`, `##` when `longest`. */
export function trimPrefix(value: string, pattern: string, longest: boolean): string {
  const chars = Array.from(value);
  const length = matchAt(parsePattern(pattern), chars, 0, longest);
  return length < 0 ? value : chars.slice(length).join("");
}

/** `${value%pattern}`, `%%` when `longest`. */
export function trimSuffix(value: string, pattern: string, longest: boolean): string {
  const chars = Array.from(value).toReversed();
  const length = matchAt(parsePattern(pattern).toReversed(), chars, 0, longest);
  return length < 0 ? value : chars.slice(length).toReversed().join("");
}

/** For every position, whether a match can begin there: one run from the end with the pattern reversed. */
function starts(tokens: readonly Token[], chars: readonly string[]): boolean[] {
  const states = new States(tokens.toReversed());
  const result: boolean[] = [];
  for (let at = chars.length; at >= 0; at -= 1) {
    if (at < chars.length) states.step(chars[at] ?? "");
    states.begin();
    result[at] = states.accepted;
  }
  return result;
}

/**
 * BuildKit gives the replacement to Go's regexp.ReplaceAllString, which reads `$1` and `${name}` in it as groups: `$0`
 * is the match, there are no others, and `$$` is a dollar.
 */
function fillTemplate(template: string, match: string): string {
  return template.replace(
    /\$(?:\$|\{(\w+)\}|(\w+))/g,
    (whole: string, braced?: string, bare?: string) => {
      if (whole === "$$") return "$";
      return (braced ?? bare) === "0" ? match : "";
    },
  );
}

/** `${value/pattern/replacement}`, `//` when `all`: the leftmost, longest matches. */
export function replacePattern(
  value: string,
  pattern: string,
  replacement: string,
  all: boolean,
): string {
  const tokens = parsePattern(pattern);
  const chars = Array.from(value);
  const canStart = starts(tokens, chars);
  let result = "";
  let copied = 0;
  let lastEnd = -1;
  for (let at = 0; at <= chars.length;) {
    const length = canStart[at] === true ? matchAt(tokens, chars, at, true) : -1;
    if (length < 0 || (length === 0 && at === lastEnd)) {
      at += 1;
      continue;
    }
    const match = chars.slice(at, at + length).join("");
    result += chars.slice(copied, at).join("");
    if (!all) return result + replacement + chars.slice(at + length).join("");
    result += fillTemplate(replacement, match);
    copied = at + length;
    lastEnd = copied;
    at = length === 0 ? at + 1 : copied;
  }
  return result + chars.slice(copied).join("");
}

/** The pattern is not one; Go's `filepath.ErrBadPattern`. Whoever read the pattern says where it stood. */
export class BadPatternError extends Error {
  override readonly name: string = "BadPatternError";
}

/** One step of a compiled pattern: a code point (0 or more), or one of the constants below, or a class. */
type Token = number | CharacterClass;
/** `?`: one character, not `/`. */
const ANY = -1;
/** `*`: characters, none of them `/`. */
const STAR = -2;
/** The `**` in front of something: nothing, or whole directories with their slash. */
const DIRECTORIES = -3;
/** `**` at the end: everything. */
const REST = -4;

/** As in Go, a class may match `/`. */
interface CharacterClass {
  readonly negated: boolean;
  /** Pairs of code points, both inclusive. */
  readonly ranges: readonly (readonly [number, number])[];
}

/** A pattern ready to be used many times. */
export interface CompiledGlob {
  readonly tokens: readonly Token[];
  /** No token is special: the pattern's text, unescaped. */
  readonly literal: string | undefined;
}

const SLASH = 0x2f;
const BACKSLASH = 0x5c;

/**
 * Whether `name` matches `pattern` by Go's `filepath.Match` (https://pkg.go.dev/path/filepath#Match): `*` and `?` stay
 * within one path element, `[a-z]`, `[^a]`, `\` quotes. The whole name must match.
 * @throws BadPatternError when the pattern is malformed, whatever the name is
 */
export function matchPath(pattern: string, name: string): boolean {
  return matchGlob(compileGlob(pattern, false), name);
}

/** Whether a path or pattern has a `*`, `?` or `[` that is not quoted. */
export function hasWildcards(text: string): boolean {
  for (let i = 0; i < text.length; i++) {
    const c = text[i];
    if (c === "\\") i++;
    else if (c === "*" || c === "?" || c === "[") return true;
  }
  return false;
}

/**
 * Reads a pattern once for many names. With `deep`, `**` stands for any number of directories, as in ignore files;
 * without it, two stars are one; and a class may begin with `]`, and begin or end with `-`, each for itself.
 * @throws BadPatternError
 */
export function compileGlob(pattern: string, deep: boolean): CompiledGlob {
  const source = Array.from(pattern);
  const tokens: Token[] = [];
  let special = false;
  for (let i = 0; i < source.length; i++) {
    const c = source[i] ?? "";
    if (c === "*") {
      special = true;
      if (deep && source[i + 1] === "*") {
        i++;
        // "**/" is "**": the directories bring their slash along.
        if (source[i + 1] === "/") i++;
        tokens.push(i + 1 >= source.length ? REST : DIRECTORIES);
      } else if (tokens.at(-1) !== STAR) {
        tokens.push(STAR);
      }
    } else if (c === "?") {
      special = true;
      tokens.push(ANY);
    } else if (c === "[") {
      special = true;
      const { value, end } = (deep ? readLooseClass : readClass)(source, i + 1, pattern);
      tokens.push(value);
      i = end;
    } else if (c === "\\") {
      i++;
      tokens.push(codePoint(source[i], pattern));
    } else {
      tokens.push(codePoint(c, pattern));
    }
  }
  const literal = special
    ? undefined
    : tokens.map((token) => String.fromCodePoint(Number(token))).join("");
  return { tokens, literal };
}

/**
 * Matches in time proportional to the product of both lengths at worst: a wildcard that was passed is only ever widened,
 * so there is no pattern that makes a build hang.
 */
export function matchGlob({ tokens, literal }: CompiledGlob, name: string): boolean {
  if (literal !== undefined) return name === literal;
  let at = 0;
  let token = 0;
  let star = -1;
  let starAt = 0;
  let deep = -1;
  let deepAt = 0;
  for (;;) {
    if (token < tokens.length) {
      const step = tokens[token] ?? ANY;
      if (step === STAR) {
        star = token++;
        starAt = at;
        continue;
      }
      if (step === DIRECTORIES || step === REST) {
        deep = token++;
        deepAt = at;
        star = -1;
        continue;
      }
      const char = name.codePointAt(at);
      if (char !== undefined && accepts(step, char)) {
        token++;
        at += char > 0xffff ? 2 : 1;
        continue;
      }
    } else if (at === name.length) {
      return true;
    }
    if (star >= 0 && starAt < name.length && name.charCodeAt(starAt) !== SLASH) {
      starAt += (name.codePointAt(starAt) ?? 0) > 0xffff ? 2 : 1;
      at = starAt;
      token = star + 1;
      continue;
    }
    star = -1;
    if (deep < 0) return false;
    if (tokens[deep] === REST) return true;
    const slash = name.indexOf("/", deepAt);
    if (slash < 0) return false;
    deepAt = slash + 1;
    at = deepAt;
    token = deep + 1;
  }
}

function accepts(step: Token, char: number): boolean {
  if (typeof step !== "number") {
    return step.ranges.some(([low, high]) => low <= char && char <= high) !== step.negated;
  }
  return step === ANY ? char !== SLASH : step === char;
}

/** From behind the `[`; `end` is the index of the `]`. */
function readClass(
  source: readonly string[],
  start: number,
  pattern: string,
): { readonly value: CharacterClass; readonly end: number } {
  let i = start;
  const negated = source[i] === "^";
  if (negated) i++;
  const ranges: [number, number][] = [];
  while (source[i] !== "]" || ranges.length === 0) {
    const low = readClassChar(source, i, pattern);
    i = low.next;
    let high = low.value;
    if (source[i] === "-") {
      const end = readClassChar(source, i + 1, pattern);
      high = end.value;
      i = end.next;
    }
    ranges.push([low.value, high]);
  }
  return { value: { negated, ranges }, end: i };
}

/** As a regular expression reads it: a hyphen that ends no range and a bracket that ends no class are themselves. */
function readLooseClass(
  source: readonly string[],
  start: number,
  pattern: string,
): { readonly value: CharacterClass; readonly end: number } {
  let i = start;
  const negated = source[i] === "^";
  if (negated) i++;
  const ranges: [number, number][] = [];
  const readChar = (): number => {
    if (source[i] === "\\") i++;
    return codePoint(source[i++], pattern);
  };
  while (source[i] !== "]" || ranges.length === 0) {
    const low = readChar();
    const isRange = source[i] === "-" && source[i + 1] !== "]";
    if (isRange) i++;
    const high = isRange ? readChar() : low;
    if (high < low) throw malformed(pattern);
    ranges.push([low, high]);
  }
  return { value: { negated, ranges }, end: i };
}

function readClassChar(
  source: readonly string[],
  start: number,
  pattern: string,
): { readonly value: number; readonly next: number } {
  const quoted = source[start]?.codePointAt(0) === BACKSLASH;
  const c = source[quoted ? start + 1 : start];
  if (!quoted && (c === "-" || c === "]")) throw malformed(pattern);
  const next = start + (quoted ? 2 : 1);
  // A class that never closes is malformed even where its characters are fine.
  if (next >= source.length) throw malformed(pattern);
  return { value: codePoint(c, pattern), next };
}

function codePoint(c: string | undefined, pattern: string): number {
  const value = c?.codePointAt(0);
  if (value === undefined) throw malformed(pattern);
  return value;
}

function malformed(pattern: string): BadPatternError {
  return new BadPatternError(`syntax error in pattern ${JSON.stringify(pattern)}`);
}

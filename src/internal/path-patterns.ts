import { posix } from "node:path";
import { trimSpaces } from "./go-spaces.js";
import { BadPatternError, compileGlob, matchGlob, type CompiledGlob } from "./path-match.js";

/** What a directory matched, pattern by pattern: its children match the same ones without being asked. */
export type ParentMatch = Uint8Array;

interface Pattern {
  /** As it was written, cleaned. */
  readonly text: string;
  /** `!`: takes back what patterns above it matched. */
  readonly exception: boolean;
  readonly test: (path: string) => boolean;
  /** For `mayReachBelow`: the pattern's path elements; `undefined`: cannot be told. */
  readonly elements: readonly CompiledGlob[] | undefined;
}

/** Patterns of an ignore file, of `--exclude` or of `--parents`. */
export interface PathPatterns {
  readonly hasExceptions: boolean;
  readonly size: number;
  /** The outcome for `path`, whose directory matched `parent`; without `parent` it stands at the root. Writes what `path` matched to `into`, for its children. */
  match(path: string, parent: ParentMatch | undefined, into?: ParentMatch): boolean;
  /** The same for a path anywhere, every parent considered. The pattern that decided, with its `!`; `undefined` when none did. */
  decidedBy(path: string): { readonly matched: boolean; readonly pattern: string } | undefined;
  /** False when no pattern (with `exceptions`: no `!` pattern) can match anything strictly below the directory, by its name or through a parent. */
  mayReachBelow(directory: string, exceptions: boolean): boolean;
}

/**
 * Patterns with the semantics of moby's patternmatcher (https://github.com/moby/patternmatcher): rooted at the top, `**`
 * any number of directories, otherwise `filepath.Match`; a match covers everything below it; `!` takes back; the last
 * match wins. Blank patterns are skipped. What patternmatcher lets through to the regular expression that it makes of a
 * pattern stays a plain character here: `|`, `^`, `{2}`, and a letter behind `\`.
 * @throws BadPatternError
 */
export function compilePatterns(texts: readonly string[]): PathPatterns {
  return new Patterns(texts.flatMap((text) => compilePattern(text) ?? []));
}

class Patterns implements PathPatterns {
  readonly hasExceptions: boolean;
  readonly size: number;
  readonly #patterns: readonly Pattern[];

  constructor(patterns: readonly Pattern[]) {
    this.#patterns = patterns;
    this.size = patterns.length;
    this.hasExceptions = patterns.some((pattern) => pattern.exception);
  }

  match(path: string, parent: ParentMatch | undefined, into?: ParentMatch): boolean {
    return this.#decide(path, parent, into) >= 0;
  }

  decidedBy(path: string): { readonly matched: boolean; readonly pattern: string } | undefined {
    let parent: ParentMatch | undefined;
    let decided = -1;
    let everMatched = false;
    for (let end = path.indexOf("/"); ; end = path.indexOf("/", end + 1)) {
      const part = end < 0 ? path : path.slice(0, end);
      const own = new Uint8Array(this.size);
      decided = this.#decide(part, parent, own);
      everMatched ||= decided >= 0;
      parent = own;
      if (end < 0) break;
    }
    if (decided >= 0) return { matched: true, pattern: this.#textOf(decided) };
    if (!everMatched && !parent.includes(1)) return undefined;
    return { matched: false, pattern: this.#textOf(parent.lastIndexOf(1)) };
  }

  mayReachBelow(directory: string, exceptions: boolean): boolean {
    const parts = directory === "" ? [] : directory.split("/");
    return this.#patterns.some(
      (pattern) => pattern.exception === exceptions && reachesBelow(pattern, parts),
    );
  }

  /** The index of the pattern by which `path` is matched; -1 when it is not. */
  #decide(path: string, parent: ParentMatch | undefined, into: ParentMatch | undefined): number {
    let decided = -1;
    for (let i = 0; i < this.#patterns.length; i++) {
      const pattern = this.#patterns[i];
      if (pattern === undefined) continue;
      let hit = parent?.[i] === 1;
      // A pattern that could not change the outcome is not tried, and so does not reach the children either.
      if (!hit) hit = pattern.exception === decided >= 0 && pattern.test(path);
      if (into !== undefined) into[i] = hit ? 1 : 0;
      if (hit) decided = pattern.exception ? -1 : i;
    }
    return decided;
  }

  #textOf(index: number): string {
    const pattern = this.#patterns[index];
    return pattern === undefined ? "" : (pattern.exception ? "!" : "") + pattern.text;
  }
}

function compilePattern(written: string): Pattern | undefined {
  const trimmed = trimSpaces(written);
  if (trimmed === "") return undefined;
  let text = cleanPath(trimmed);
  const exception = text.startsWith("!");
  if (exception) {
    if (text.length === 1) throw new BadPatternError('illegal exclusion pattern: "!"');
    text = text.slice(1);
  }
  checkSyntax(text);
  const glob = compileGlob(text, true);
  return { text, exception, test: tester(text, glob), elements: elementsOf(text) };
}

/**
 * As patternmatcher does it: what `filepath.Match` comes to when it is asked about "." has to be well-formed. Classes
 * behind that are a regular expression's, where `-` and `]` may stand at the ends: `test*[_-]*.py`.
 */
function checkSyntax(text: string): void {
  let name = ".";
  for (const part of text.match(/\*+|(?:\\[^]?|\[(?:\\[^]?|[^\]\\])*\]?|[^*\\[])+/g) ?? []) {
    if (part.startsWith("*")) continue;
    if (!matchGlob(compileGlob(part, false), name)) return;
    name = "";
  }
}

/** The forms that need no glob are the common ones, and `**name` has a meaning of its own: any path that ends with it. */
function tester(text: string, glob: CompiledGlob): (path: string) => boolean {
  const { literal } = glob;
  if (literal !== undefined) return (path) => path === literal;
  const plain = (part: string): boolean => !/[*?[\]\\]/.test(part);
  if (text.startsWith("**") && plain(text.slice(2))) {
    const suffix = text.slice(2);
    const whole = suffix.startsWith("/") ? suffix.slice(1) : suffix;
    return (path) => path.endsWith(suffix) || path === whole;
  }
  if (text.endsWith("**") && plain(text.slice(0, -2))) {
    const prefix = text.slice(0, -2);
    return (path) => path.startsWith(prefix);
  }
  return (path) => matchGlob(glob, path);
}

function elementsOf(text: string): readonly CompiledGlob[] | undefined {
  // A class may hold or match a slash, and a slash may be quoted: then the elements are not what they look like.
  if (/[[\\]/.test(text)) return undefined;
  return text.split("/").map((element) => compileGlob(element, true));
}

function reachesBelow(pattern: Pattern, parts: readonly string[]): boolean {
  if (pattern.elements === undefined) return true;
  for (const [i, element] of pattern.elements.entries()) {
    const part = parts[i];
    // The directory is a parent of what the rest of the pattern names.
    if (part === undefined) return true;
    if (element.literal === undefined && /\*\*/.test(pattern.text)) return true;
    if (!matchGlob(element, part)) return false;
  }
  // The pattern matches the directory or a parent of it, and with that everything below.
  return true;
}

/** Go's `path.Clean`: `path.posix.normalize` keeps a trailing slash. */
export function cleanPath(path: string): string {
  const normal = posix.normalize(path);
  return normal.length > 1 && normal.endsWith("/") ? normal.slice(0, -1) : normal;
}

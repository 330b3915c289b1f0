/**
 * Go's unicode.IsSpace, which decides what white space is in a Dockerfile and in an ignore file; JavaScript's `\s` differs
 * in U+0085 and U+FEFF.
 */
const SPACE = /[\t\n\v\f\r \u0085\u00a0\u1680\u2000-\u200a\u2028\u2029\u202f\u205f\u3000]/;

export function isSpace(char: string): boolean {
  return SPACE.test(char);
}

/** The index of the first character at or after `from` that is no white space. */
export function skipSpaces(text: string, from = 0): number {
  let at = from;
  while (at < text.length && SPACE.test(text.charAt(at))) at += 1;
  return at;
}

/** The index after the last character that is no white space. */
export function endWithoutSpaces(text: string): number {
  let end = text.length;
  while (end > 0 && SPACE.test(text.charAt(end - 1))) end -= 1;
  return end;
}

export function trimSpaces(text: string): string {
  const end = endWithoutSpaces(text);
  return text.slice(Math.min(skipSpaces(text), end), end);
}

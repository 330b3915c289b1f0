/**
 * File names are bytes; the contracts between rooms hold strings. Bytes that are no UTF-8 become lone surrogates
 * U+DC80 to U+DCFF, one each, and go back to the same bytes: Python's "surrogateescape". Every other name is plain UTF-8.
 */

const DECODER = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true });
const ESCAPE = 0xdc00;
const LONE = /[\ud800-\udfff]/;
const ESCAPED = /[\udc80-\udcff]/;

/** The text of a file name, a path or a link. {@link encodeName} gives the same bytes again. */
export function decodeName(bytes: Uint8Array): string {
  let ascii = true;
  for (let i = 0; i < bytes.length && ascii; i++) ascii = (bytes[i] ?? 0) < 0x80;
  if (ascii) return Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length).toString("latin1");
  try {
    return DECODER.decode(bytes);
  } catch {
    return decodeEscaping(bytes);
  }
}

/** The bytes of a name that {@link decodeName} gave, or of any other string as UTF-8. */
export function encodeName(name: string): Buffer {
  if (!LONE.test(name) || !ESCAPED.test(name)) return Buffer.from(name, "utf8");
  const parts: Buffer[] = [];
  for (const character of name) {
    const code = character.length === 1 ? character.charCodeAt(0) : 0;
    const escaped = code >= ESCAPE + 0x80 && code <= ESCAPE + 0xff;
    parts.push(escaped ? Buffer.of(code - ESCAPE) : Buffer.from(character, "utf8"));
  }
  return Buffer.concat(parts);
}

/** Order of the names' bytes. JavaScript's own order of strings differs from it above U+D7FF. */
export function compareNames(a: string, b: string): number {
  if (a === b) return 0;
  if (LONE.test(a) || LONE.test(b)) return Buffer.compare(encodeName(a), encodeName(b));
  return a < b ? -1 : 1;
}

function decodeEscaping(bytes: Uint8Array): string {
  let text = "";
  for (let at = 0; at < bytes.length;) {
    const length = sequenceLength(bytes, at);
    if (length === 0) {
      text += String.fromCharCode(ESCAPE + (bytes[at] ?? 0));
      at += 1;
    } else {
      text += DECODER.decode(bytes.subarray(at, at + length));
      at += length;
    }
  }
  return text;
}

/** Bytes of the well-formed UTF-8 character at `at`; 0 when there is none. */
function sequenceLength(bytes: Uint8Array, at: number): number {
  const first = bytes[at] ?? 0;
  if (first < 0x80) return 1;
  const length = first < 0xc2 ? 0 : first < 0xe0 ? 2 : first < 0xf0 ? 3 : first < 0xf5 ? 4 : 0;
  if (length === 0 || at + length > bytes.length) return 0;
  try {
    DECODER.decode(bytes.subarray(at, at + length));
    return length;
  } catch {
    return 0;
  }
}

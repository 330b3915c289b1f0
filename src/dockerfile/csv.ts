import { fail } from "./diagnostic.js";
import { Composer, type Fragment, cut, spanOf } from "./fragment.js";

/**
 * The fields of one CSV record (RFC 4180): a field in double quotes may hold commas, and `""` for a quote.
 * @throws Fault; `what` names the list in the message
 */
export function readCsv(text: Fragment, what: string): Fragment[] {
  const fields: Fragment[] = [];
  if (text.text === "") fail("csv", `failed to parse csv ${what}: it is empty`, spanOf(text));
  let at = 0;
  for (;;) {
    const { field, end } = text.text.startsWith('"', at)
      ? quoted(text, at, what)
      : bare(text, at, what);
    fields.push(field);
    if (end >= text.text.length) return fields;
    at = end + 1;
  }
}

function bare(text: Fragment, start: number, what: string): { field: Fragment; end: number } {
  const comma = text.text.indexOf(",", start);
  const end = comma < 0 ? text.text.length : comma;
  const field = cut(text, start, end);
  if (field.text.includes('"')) {
    fail("csv", `failed to parse csv ${what}: bare " in non-quoted field`, spanOf(field));
  }
  return { field, end };
}

function quoted(text: Fragment, start: number, what: string): { field: Fragment; end: number } {
  const composer = new Composer(text);
  for (let at = start + 1; at < text.text.length; at += 1) {
    if (text.text.charAt(at) !== '"') composer.add(at);
    else if (text.text.charAt(at + 1) === '"') {
      composer.add(at);
      at += 1;
    } else {
      const end = at + 1;
      if (end < text.text.length && text.text.charAt(end) !== ",") break;
      return { field: composer.finish(start), end };
    }
  }
  fail(
    "csv",
    `failed to parse csv ${what}: extraneous or missing " in quoted-field`,
    spanOf(text, start),
  );
}

import type { Diagnostic, Position } from "../../index.js";
import { RULES } from "./rules.js";

/** Lines around a warning's own. */
const AROUND = 2;
/** Lines of one warning that are shown: a heredoc can be long. */
const MAX_LINES = 20;

type Locate = (span: Diagnostic["span"]) => Position;

/** As `docker build --check` prints it, for people. */
export function checkText(found: readonly Diagnostic[], locate: Locate): string {
  if (found.length === 0) return "Check complete, no warnings found.\n";
  const count = found.length === 1 ? "1 warning has" : `${found.length} warnings have`;
  const parts = found.map((one) => `\n${warningText(one, locate)}\n`);
  return `Check complete, ${count} been found!\n${parts.join("")}`;
}

function warningText({ code, message, span }: Diagnostic, locate: Locate): string {
  const { first, last } = linesOf(span, locate);
  const title = RULES[code] === undefined ? "" : ` - ${RULES[code]}`;
  return [
    `WARNING: ${code}${title}`,
    printable(message),
    `${span.file.path}:${first}`,
    "--------------------",
    ...excerpt(span.file.text, first, last),
    "--------------------",
  ].join("\n");
}

function excerpt(text: string, first: number, last: number): readonly string[] {
  const lines = text.split("\n");
  if (lines.at(-1) === "") lines.pop();
  const from = Math.max(1, first - AROUND);
  const to = Math.min(lines.length, Math.min(last, first + MAX_LINES) + AROUND);
  return lines.slice(from - 1, to).map((line, at) => {
    const number = from + at;
    const mark = number >= first && number <= last ? ">>>" : "   ";
    return `${String(number).padStart(4)} | ${mark} ${printable(line)}`.trimEnd();
  });
}

/** Lines from 1; a span that ends with a newline does not reach into the next line. */
function linesOf(span: Diagnostic["span"], locate: Locate): { first: number; last: number } {
  const first = locate(span).line;
  const marked = span.file.text.slice(span.start, span.end).trimEnd();
  return { first, last: first + marked.split("\n").length - 1 };
}

/** Control characters of the file must not reach a terminal. */
function printable(text: string): string {
  return text.replace(/\r$/, "").replace(/[^\P{Cc}\t]|\uFEFF/gu, "\uFFFD");
}

/** BuildKit's lint results, for programs. */
export function checkJson(
  found: readonly Diagnostic[],
  locate: Locate,
  errors: readonly Diagnostic[] = [],
): string {
  const files = [...new Set([...found, ...errors].map(({ span }) => span.file))];
  const location = ({ span }: Diagnostic): object => {
    const { first, last } = linesOf(span, locate);
    const sourceIndex = files.indexOf(span.file);
    const ranges = [{ start: { line: first }, end: { line: last } }];
    return sourceIndex === 0 ? { ranges } : { sourceIndex, ranges };
  };
  const [error] = errors;
  const results = {
    warnings: found.map((one) => ({
      ruleName: one.code,
      description: RULES[one.code],
      detail: one.message,
      location: location(one),
    })),
    sources: files.map(({ path, text }) => ({
      filename: path,
      language: "Dockerfile",
      data: Buffer.from(text).toString("base64"),
    })),
    buildError: error && { message: error.message, location: location(error) },
  };
  return `${JSON.stringify(results, undefined, 2)}\n`;
}

import { TsbuildError } from "../errors.js";
import type { Diagnostic, Position, SourceFile, Span } from "./types.js";

/** Diagnostics beyond these are counted, not shown: a file that is no Dockerfile has one on every line. */
const MAX_SHOWN = 20;
/** Columns of a source line that are shown around the marked place. */
const WINDOW = 120;
const BOM = "\uFEFF";

/** Where a span begins. A byte order mark takes no column. */
export function locate(span: Span): Position {
  const { text } = span.file;
  const before = text.slice(0, span.start);
  let line = 1;
  for (let at = before.indexOf("\n"); at >= 0; at = before.indexOf("\n", at + 1)) line += 1;
  const start = before.lastIndexOf("\n") + 1;
  const column = Array.from(before.slice(start)).length + 1;
  return { line, column: line === 1 && text.startsWith(BOM) ? Math.max(1, column - 1) : column };
}

/** Control characters of the file must not reach a terminal. */
function printable(text: string): string {
  // eslint-disable-next-line no-control-regex
  return text.replace(/[\u0000-\u0008\u000b-\u001f\u007f-\u009f\uFEFF]/g, "\uFFFD");
}

/** The source line with its number, and the marked text underlined. */
function excerpt(span: Span, line: number): string {
  const { text } = span.file;
  let start = text.lastIndexOf("\n", span.start - 1) + 1;
  if (start === 0 && text.startsWith(BOM)) start = 1;
  const newline = text.indexOf("\n", span.start);
  const lineEnd = newline < 0 ? text.length : newline;
  const first = Math.max(start, span.start);
  const last = Math.max(first, Math.min(span.end, lineEnd));
  const from = first - start > WINDOW ? first - WINDOW / 2 : start;
  const to = Math.min(lineEnd, Math.max(last, from + WINDOW), first + WINDOW);
  const shown = printable(text.slice(from, to).replace(/\r$/, ""));
  const pad = Array.from(text.slice(from, first), (char) => (char === "\t" ? "\t" : " ")).join("");
  const marked = Math.max(1, Array.from(text.slice(first, Math.min(last, to)).trimEnd()).length);
  const number = ` ${line} `;
  const dots = from > start ? "..." : "";
  return [
    `${number}| ${dots}${shown}${to < lineEnd ? "..." : ""}`,
    `${" ".repeat(number.length)}| ${" ".repeat(dots.length)}${pad}^${"~".repeat(marked - 1)}`,
  ].join("\n");
}

/** `Dockerfile:3:5: message`, the line, the marked text underlined, and the hint: as compilers print them. */
export function renderDiagnostic(diagnostic: Diagnostic): string {
  const { span, severity, code, message, hint } = diagnostic;
  const { line, column } = locate(span);
  const kind = severity === "warning" ? `warning: ${code}: ` : "";
  const lines = [`${span.file.path}:${line}:${column}: ${kind}${printable(message)}`];
  if (span.file.text.length > 0) lines.push(excerpt(span, line));
  if (hint !== undefined) lines.push(`  hint: ${hint}`);
  return lines.join("\n");
}

/** What is wrong with a Dockerfile: all of it at once. */
export class DockerfileError extends TsbuildError {
  override readonly name: string = "DockerfileError";
  /** At least one; in file order. */
  readonly diagnostics: readonly Diagnostic[];

  constructor(diagnostics: readonly Diagnostic[], options: { readonly cause?: unknown } = {}) {
    const shown = diagnostics.slice(0, MAX_SHOWN).map(renderDiagnostic);
    const more = diagnostics.length - shown.length;
    if (more > 0) shown.push(`and ${more} more`);
    super("DOCKERFILE_INVALID", shown.join("\n\n"), options);
    this.diagnostics = diagnostics;
  }
}

/** The span of all of a text that stands in no file. */
export function wholeText(text: string, path: string): Span {
  const file: SourceFile = { path, text };
  return { file, start: 0, end: text.length };
}

/**
 * A diagnostic on its way to whoever gathers them. Cheaper than a DockerfileError, which looks its places up in the file;
 * never leaves this room.
 */
export class Fault extends Error {
  readonly diagnostic: Diagnostic;

  constructor(diagnostic: Diagnostic) {
    super(diagnostic.message);
    this.diagnostic = diagnostic;
  }
}

/** @throws Fault */
export function fail(code: string, message: string, span: Span, hint?: string): never {
  const base = { severity: "error", code, message, span } as const;
  throw new Fault(hint === undefined ? base : { ...base, hint });
}

/** What every exported function runs in. @throws DockerfileError in place of a Fault */
export function raising<T>(read: () => T): T {
  try {
    return read();
  } catch (error) {
    throw error instanceof Fault ? new DockerfileError([error.diagnostic]) : error;
  }
}

/** Gathers what is wrong while reading goes on. */
export class Problems {
  readonly errors: Diagnostic[] = [];
  readonly warnings: Diagnostic[] = [];

  error(code: string, message: string, span: Span, hint?: string): void {
    const base = { severity: "error", code, message, span } as const;
    this.errors.push(hint === undefined ? base : { ...base, hint });
  }

  warn(code: string, message: string, span: Span): void {
    this.warnings.push({ severity: "warning", code, message, span });
  }

  /** Runs `read`; the Fault that it throws joins the list. */
  attempt<T>(read: () => T): T | undefined {
    try {
      return read();
    } catch (error) {
      if (!(error instanceof Fault)) throw error;
      this.errors.push(error.diagnostic);
      return undefined;
    }
  }

  /** @throws DockerfileError when there is any error */
  throwAny(): void {
    const ordered = this.errors.toSorted((a, b) => a.span.start - b.span.start);
    if (ordered.length > 0) throw new DockerfileError(ordered);
  }
}

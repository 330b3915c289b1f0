import { DirectiveReader } from "./directives.js";
import { fail, type Problems } from "./diagnostic.js";
import { type Composed, type Piece, fragmentOf } from "./fragment.js";
import { isSpace, skipSpaces, trimSpaces } from "../internal/go-spaces.js";
import type { EscapeToken, SourceFile, Span } from "./types.js";

/** Bytes; BuildKit refuses longer lines. */
const MAX_LINE = 65_535;

const CONTINUES: Readonly<Record<EscapeToken, RegExp>> = {
  "\\": /(?:^|[^\\])(\\[ \t]*)$/,
  "`": /(?:^|[^`])(`[ \t]*)$/,
};

/** Where an escape at the end makes the next line part of this one; undefined: it does not. */
export function continuationAt(text: string, escape: EscapeToken): number | undefined {
  const match = CONTINUES[escape].exec(text);
  return match === null ? undefined : text.length - (match[1]?.length ?? 0);
}

interface PhysicalLine {
  readonly start: number;
  /** Before the newline and any carriage returns. */
  readonly end: number;
  readonly next: number;
}

/** A line with its continuations joined and their comments left out. */
export interface LogicalLine extends Composed {
  /** Comments above, without `#`. */
  readonly comments: readonly string[];
  /** Blank lines between the continuations. */
  readonly blanks: readonly Span[];
}

/** Reads a file's lines in order: logical lines, and heredoc bodies as the caller asks for them. */
export class Lines {
  readonly #file: SourceFile;
  readonly #problems: Problems;
  readonly reader: DirectiveReader = new DirectiveReader();
  #at: number;

  constructor(file: SourceFile, problems: Problems) {
    this.#file = file;
    this.#problems = problems;
    this.#at = file.text.startsWith("\uFEFF") ? 1 : 0;
  }

  /**
   * The next logical line; undefined at the end.
   * @throws Fault when a line is too long, after which nothing can be read
   */
  next(): LogicalLine | undefined {
    let comments: string[] = [];
    for (let line = this.#physical(); line !== undefined; line = this.#physical()) {
      const start = this.#skipIndent(line);
      const text = this.#file.text.slice(start, line.end);
      if (text.startsWith("#")) {
        if (this.#directive(start, text)) continue;
        // BuildKit takes the line's first character off: an indented comment keeps its sign, and so says nothing to the rules.
        const comment = trimSpaces(this.#file.text.slice(line.start + 1, line.end));
        if (comment === "") comments = [];
        else comments.push(comment);
        continue;
      }
      this.#directive(start, text);
      if (text !== "") return { ...this.#joined(start, line), comments };
    }
    return undefined;
  }

  /** The lines up to the terminator, which is consumed; undefined when it never comes. */
  body(terminator: string, chomp: boolean): Span | undefined {
    const start = this.#at;
    for (let line = this.#physical(); line !== undefined; line = this.#physical()) {
      const text = this.#file.text.slice(line.start, line.end);
      if ((chomp ? text.replace(/^\t+/, "") : text) === terminator) {
        return { file: this.#file, start, end: line.start };
      }
    }
    return undefined;
  }

  /** Where the next line begins, for `rewind`. */
  get position(): number {
    return this.#at;
  }

  rewind(position: number): void {
    this.#at = position;
  }

  #physical(): PhysicalLine | undefined {
    const { text } = this.#file;
    if (this.#at >= text.length) return undefined;
    const start = this.#at;
    const newline = text.indexOf("\n", start);
    const next = newline < 0 ? text.length : newline + 1;
    let end = newline < 0 ? text.length : newline;
    if (end - start > MAX_LINE / 3 && Buffer.byteLength(text.slice(start, end)) > MAX_LINE) {
      const message = `dockerfile line greater than max allowed size of ${MAX_LINE}`;
      fail("line-too-long", message, { file: this.#file, start, end });
    }
    while (end > start && text.charAt(end - 1) === "\r") end -= 1;
    this.#at = next;
    return { start, end, next };
  }

  #skipIndent(line: PhysicalLine): number {
    let at = line.start;
    while (at < line.end && isSpace(this.#file.text.charAt(at))) at += 1;
    return at;
  }

  #directive(start: number, text: string): boolean {
    const whole = { file: this.#file, text, pieces: [{ at: 0, source: start }] };
    return this.#problems.attempt(() => this.reader.take(fragmentOf(whole))) ?? true;
  }

  #joined(start: number, first: PhysicalLine): Omit<LogicalLine, "comments"> {
    const { escape } = this.reader;
    const { text } = this.#file;
    const chunks: string[] = [];
    const pieces: Piece[] = [];
    const blanks: Span[] = [];
    let length = 0;
    const add = (from: number, end: number): boolean => {
      const line = text.slice(from, end);
      const stop = continuationAt(line, escape);
      const chunk = stop === undefined ? line : line.slice(0, stop);
      if (chunk !== "" || pieces.length === 0) pieces.push({ at: length, source: from });
      chunks.push(chunk);
      length += chunk.length;
      return stop !== undefined;
    };
    let more = add(start, first.end);
    while (more) {
      const line = this.#physical();
      if (line === undefined) break;
      const body = text.slice(line.start, line.end);
      const indent = skipSpaces(body);
      if (indent === body.length) {
        blanks.push({ file: this.#file, start: line.start, end: line.end });
      } else if (body.charAt(indent) !== "#") {
        more = add(line.start, line.end);
      }
    }
    return { file: this.#file, text: chunks.join(""), pieces, blanks };
  }
}

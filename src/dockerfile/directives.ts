import { NO_CHECK, readCheck } from "./check.js";
import { fail } from "./diagnostic.js";
import { type Fragment, cut, spanOf, trimmed } from "./fragment.js";
import { skipSpaces } from "../internal/go-spaces.js";
import type { CheckOptions, Directives, EscapeToken, Flag } from "./types.js";

const KNOWN: ReadonlySet<string> = new Set(["syntax", "escape", "check"]);
const KEY = /^([a-zA-Z][a-zA-Z0-9]*)[\t\n\f\r ]*=/;

/** Reads the comments at the very top; ends at the first line that is no known directive. */
export class DirectiveReader {
  #syntax: Flag<string> | undefined;
  #escape: Flag<EscapeToken> | undefined;
  #check: Flag<string> | undefined;
  #options: CheckOptions = NO_CHECK;
  #done = false;

  get escape(): EscapeToken {
    return this.#escape?.value ?? "\\";
  }

  get check(): CheckOptions {
    return this.#options;
  }

  get directives(): Directives {
    return {
      ...(this.#syntax && { syntax: this.#syntax }),
      ...(this.#escape && { escape: this.#escape }),
      ...(this.#check && { check: this.#check }),
    };
  }

  /**
   * Whether the line, without white space before it, is a directive.
   * @throws Fault when it is one, but not a valid one
   */
  take(line: Fragment): boolean {
    if (this.#done) return false;
    const body = line.text.startsWith("#") ? cut(line, skipSpaces(line.text, 1)) : undefined;
    const [before = "", key = ""] = KEY.exec(body?.text ?? "") ?? [];
    const name = key.toLowerCase();
    const rest = body === undefined ? undefined : cut(body, before.length);
    if (body === undefined || rest === undefined || rest.text === "" || !KNOWN.has(name)) {
      this.#done = true;
      return false;
    }
    const value = trimmed(rest);
    const flag = { value: value.text === "" ? " " : value.text, span: spanOf(value) };
    this.#set(name, flag, spanOf(body));
    return true;
  }

  #set(name: string, flag: Flag<string>, line: Flag<string>["span"]): void {
    const known = { syntax: this.#syntax, escape: this.#escape, check: this.#check };
    if (Object.entries(known).some(([key, value]) => key === name && value !== undefined)) {
      fail("directive", `only one ${name} parser directive can be used`, line);
    }
    if (name === "syntax") this.#syntax = flag;
    else if (name === "check") {
      this.#check = flag;
      // The options end at the first blank, as in BuildKit.
      this.#options = readCheck(flag.value.split(" ")[0] ?? "", flag.span);
    } else if (flag.value === "\\" || flag.value === "`") {
      this.#escape = { value: flag.value, span: flag.span };
    } else {
      const message = `invalid escape token '${flag.value}' does not match \` or \\`;
      fail("directive", message, flag.span, "write `# escape=\\``, or leave the line out");
    }
  }
}

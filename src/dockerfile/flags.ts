import type { Problems } from "./diagnostic.js";
import { type Fragment, cut, spanOf, wordOf } from "./fragment.js";
import type { Statement } from "./statement.js";
import { didYouMean } from "./suggest.js";
import type { Flag, Word } from "./types.js";

/** `list` flags may come several times. */
export type FlagKind = "string" | "bool" | "list";

interface Found {
  readonly value: Fragment;
  readonly flag: Flag<Word>;
  readonly kind: FlagKind;
}

/** An instruction's flags, checked against those it knows. */
export class Flags {
  readonly #found = new Map<string, Found[]>();

  /** Reports unknown and repeated flags, missing values and bad booleans, in BuildKit's words. */
  constructor(statement: Statement, known: Readonly<Record<string, FlagKind>>, problems: Problems) {
    for (const { text, written } of statement.flags) {
      const equals = text.text.indexOf("=");
      const shown = equals < 0 ? text.text : text.text.slice(0, equals);
      const name = shown.slice(2);
      const kind = Object.hasOwn(known, name) ? known[name] : undefined;
      const span = spanOf(written);
      const refuse = (message: string): void => problems.error("flag", message, span);
      if (kind === undefined) {
        refuse(`unknown flag: ${shown}${didYouMean(name, Object.keys(known))}`);
        continue;
      }
      const before = this.#found.get(name) ?? [];
      if (before.length > 0 && kind !== "list") {
        refuse(`duplicate flag specified: ${shown}`);
        continue;
      }
      const value = equals < 0 ? cut(text, text.text.length) : cut(text, equals + 1);
      const missing = kind === "bool" ? equals >= 0 && value.text === "" : equals < 0;
      if (missing) refuse(`missing a value on flag: ${shown}`);
      else if (kind === "bool" && !/^(?:true|false)?$/i.test(value.text)) {
        refuse(`expecting boolean value for flag ${shown}, not: ${value.text}`);
      }
      before.push({ value, flag: { value: wordOf(value), span }, kind });
      this.#found.set(name, before);
    }
  }

  word(name: string): Flag<Word> | undefined {
    return this.#found.get(name)?.[0]?.flag;
  }

  text(name: string): Flag<string> | undefined {
    const flag = this.word(name);
    return flag && { value: flag.value.text, span: flag.span };
  }

  bool(name: string): Flag<boolean> | undefined {
    const flag = this.word(name);
    return flag && { value: flag.value.text.toLowerCase() !== "false", span: flag.span };
  }

  words(name: string): readonly Flag<Word>[] {
    return (this.#found.get(name) ?? []).map(({ flag }) => flag);
  }

  fragments(name: string): readonly { readonly value: Fragment; readonly flag: Flag<Word> }[] {
    return this.#found.get(name) ?? [];
  }
}

/** Drops the keys that have no value, for optional properties. */
export function present<T extends object>(
  values: T,
): { [K in keyof T]?: Exclude<T[K], undefined> } {
  const entries = Object.entries(values).filter(([, value]) => value !== undefined);
  return Object.fromEntries(entries) as { [K in keyof T]?: Exclude<T[K], undefined> };
}

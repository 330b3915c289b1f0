import { booleanOf } from "./booleans.js";
import {
  FLAGS,
  MEANINGLESS_SWITCHES,
  UNSUPPORTED,
  WITHOUT_MEANING,
  type FlagName,
  type FlagSpec,
} from "./flags.js";
import { strayFlag } from "./flags-store.js";
import { UsageError } from "./usage-error.js";

const COMMANDS = ["build", "check", "doctor", "explain", "du", "prune", "store check"] as const;
export type Command = (typeof COMMANDS)[number];

export interface ParsedFlags {
  readonly command: Command;
  readonly one: ReadonlyMap<FlagName, string>;
  readonly many: ReadonlyMap<FlagName, readonly string[]>;
  /** Flags of Kaniko that were given and mean nothing here, with why. */
  readonly ignored: readonly string[];
}

const SPECS: readonly (FlagSpec & { readonly name: FlagName })[] = FLAGS;

function usage(message: string, hint?: string): never {
  throw new UsageError(message, hint);
}

/** An optional command, then pflag's grammar: `--name=value`, `--name value`, `-nvalue`, `-n value`, switches without a value. @throws UsageError */
export function parseFlags(argv: readonly string[]): ParsedFlags {
  const one = new Map<FlagName, string>();
  const many = new Map<FlagName, string[]>();
  const ignored: string[] = [];
  const words = [...argv];
  const command = takeCommand(words);
  for (let word = words.shift(); word !== undefined; word = words.shift()) {
    const { name, inline } = splitWord(command === "du" && word === "-v" ? "--verbose" : word);
    const meaningless = WITHOUT_MEANING.get(name);
    if (meaningless !== undefined) {
      if (inline === undefined && !MEANINGLESS_SWITCHES.has(name)) words.shift();
      ignored.push(`--${name} makes no difference: ${meaningless}`);
      continue;
    }
    const spec = find(name, word);
    if (spec.type === "flag") {
      one.set(spec.name, String(readSwitch(spec.name, inline)));
      continue;
    }
    const value = inline ?? words.shift();
    if (value === undefined) usage(`--${spec.name} needs a value`);
    check(spec, value);
    if (spec.type === "list" || spec.type === "pairs") {
      many.set(spec.name, [...(many.get(spec.name) ?? []), value]);
    } else {
      one.set(spec.name, value);
    }
  }
  if (command === "build" && one.has("format"))
    usage("--format belongs to tsbuild check, doctor, explain, du, prune and store check");
  const stray = strayFlag(command, [...one.keys(), ...many.keys()]);
  if (stray !== undefined && !one.has("help"))
    usage(`--${stray} means nothing to tsbuild ${command}`);
  return { command, one, many, ignored };
}

/** A command's name, of one word or two, is first. */
function takeCommand(words: string[]): Command {
  const command = COMMANDS.find((name) => name.split(" ").every((part, at) => words[at] === part));
  if (command === undefined) {
    if (words[0] === "store") usage("tsbuild store needs a word", "expected tsbuild store check");
    return "build";
  }
  words.splice(0, command.split(" ").length);
  return command;
}

function splitWord(word: string): { readonly name: string; readonly inline?: string } {
  if (word.startsWith("--")) {
    const equals = word.indexOf("=");
    if (equals < 0) return { name: word.slice(2) };
    return { name: word.slice(2, equals), inline: word.slice(equals + 1) };
  }
  if (!word.startsWith("-") || word === "-") {
    usage(
      `unexpected argument "${word}"`,
      "everything but a first word (build, check, doctor, explain, du, prune, store check) is given by flags: --context, --dockerfile",
    );
  }
  const spec = SPECS.find(({ short }) => short === word[1]);
  if (spec === undefined) usage(`unknown flag "${word.slice(0, 2)}"`);
  if (word.length === 2) return { name: spec.name };
  return { name: spec.name, inline: word.slice(word[2] === "=" ? 3 : 2) };
}

function find(name: string, word: string): (typeof SPECS)[number] {
  const spec = SPECS.find((one) => one.name === name || one.aliases?.includes(name));
  if (spec !== undefined) return spec;
  const instead = UNSUPPORTED.get(name);
  if (instead !== undefined) usage(`--${name} is not supported`, instead);
  const near = nearest(name);
  usage(
    `unknown flag "${word.startsWith("--") ? `--${name}` : word}"`,
    near === undefined ? undefined : `did you mean --${near}?`,
  );
}

function readSwitch(name: string, inline: string | undefined): boolean {
  const known = inline === undefined || booleanOf(inline);
  return known ?? usage(`--${name} is true or false, not "${inline}"`);
}

function check(spec: FlagSpec, value: string): void {
  if (spec.choices !== undefined && !spec.choices.includes(value)) {
    usage(`--${spec.name} cannot be "${value}"`, `expected one of ${spec.choices.join(", ")}`);
  }
  if (spec.type === "number" && !/^-?\d+$/.test(value)) {
    usage(`--${spec.name} needs a whole number, not "${value}"`);
  }
}

/** The flag whose name is at most two edits away. */
function nearest(name: string): string | undefined {
  const scored = SPECS.map((spec) => ({ name: spec.name, cost: distance(name, spec.name) }));
  scored.sort((a, b) => a.cost - b.cost);
  const [best] = scored;
  return best !== undefined && best.cost <= 2 ? best.name : undefined;
}

function distance(a: string, b: string): number {
  let row = Array.from({ length: b.length + 1 }, (_, at) => at);
  for (let i = 1; i <= a.length; i++) {
    const next = [i];
    for (let j = 1; j <= b.length; j++) {
      const same = a[i - 1] === b[j - 1] ? 0 : 1;
      next.push(Math.min((row[j] ?? 0) + 1, (next[j - 1] ?? 0) + 1, (row[j - 1] ?? 0) + same));
    }
    row = next;
  }
  return row[b.length] ?? a.length;
}

import { unreachable } from "../errors.js";
import { continuationAt } from "./lines.js";
import { isSpace } from "../internal/go-spaces.js";
import { heredocPlaces } from "./heredoc.js";
import { fragmentOf } from "./fragment.js";
import type {
  Add,
  Command,
  Copy,
  Dockerfile,
  EscapeToken,
  Heredoc,
  HealthcheckInstruction,
  Instruction,
  Run,
  Word,
} from "./types.js";

/** Bytes; longer lines are continued, since none may be longer than 65,535. */
const WRAP = 60_000;

/** A Dockerfile that reads to the same instructions; comments that stand above an instruction are kept. */
export function printDockerfile(dockerfile: Dockerfile): string {
  const { directives, escape, globals, stages } = dockerfile;
  const head = [
    ...(directives.syntax ? [`# syntax=${directives.syntax.value}`] : []),
    ...(directives.escape ? [`# escape=${directives.escape.value}`] : []),
    ...(directives.check ? [`# check=${directives.check.value}`] : []),
  ];
  const blocks = [globals, ...stages.map(({ from, instructions }) => [from, ...instructions])];
  const parts = blocks
    .filter((block) => block.length > 0)
    .map((block) => block.map((instruction) => withComments(instruction, escape)).join(""));
  // The blank line also keeps the first comment from being read as a directive.
  return [...head.map((line) => `${line}\n`), "\n", parts.join("\n")].join("");
}

function withComments(instruction: Instruction, escape: EscapeToken): string {
  const comments = instruction.comments.map((comment) => `# ${comment}\n`);
  return `${comments.join("")}${formatInstruction(instruction, escape)}\n`;
}

/** One instruction with its heredoc bodies, without a newline at the end. */
export function formatInstruction(instruction: Instruction, escape: EscapeToken = "\\"): string {
  const { kind } = instruction;
  if (kind === "ONBUILD") {
    const [line = "", ...bodies] = instruction.trigger.split("\n");
    return [wrapped(`ONBUILD ${line}`, escape), ...bodies].join("\n");
  }
  const flags = flagsOf(instruction).map(([name, value]) => formatFlag(name, value, escape));
  const rest = argumentsOf(instruction, escape);
  // What begins with two dashes would be read as a flag.
  const end = rest.startsWith("--") ? ["--"] : [];
  const line = [kind, ...flags, ...end, rest].filter((part) => part !== "").join(" ");
  const bodies = heredocsOf(instruction).map(({ content, name }) => content + name);
  return [wrapped(line, escape), ...bodies].join("\n");
}

type FlagText = readonly [name: string, value: string | undefined];

function flagsOf(instruction: Instruction): readonly FlagText[] {
  const { kind } = instruction;
  if (kind === "FROM") {
    return instruction.platform ? [["platform", instruction.platform.value.text]] : [];
  }
  if (kind === "RUN") return runFlags(instruction);
  if (kind === "COPY" || kind === "ADD") return copyFlags(instruction);
  return kind === "HEALTHCHECK" ? healthFlags(instruction) : [];
}

function runFlags({ mounts, network, security, devices }: Run): readonly FlagText[] {
  return [
    ...mounts.map(({ spec }) => ["mount", spec.text] as const),
    ...(network ? [["network", network.value] as const] : []),
    ...(security ? [["security", security.value] as const] : []),
    ...devices.map(({ value, required }) => ["device", deviceText(value, required)] as const),
  ];
}

function deviceText(name: string, required: boolean): string {
  const quoted = `"name=${name.replaceAll('"', '""')}"`;
  return required ? `${quoted},required` : quoted;
}

function copyFlags(instruction: Copy | Add): readonly FlagText[] {
  const text = (name: string, flag: { value: Word } | undefined): FlagText[] =>
    flag ? [[name, flag.value.text]] : [];
  const bool = (name: string, flag: { value: boolean } | undefined): FlagText[] =>
    flag ? [[name, String(flag.value)]] : [];
  const own: FlagText[] =
    instruction.kind === "COPY"
      ? [
          ...(instruction.from ? [["from", instruction.from.value] as const] : []),
          ...bool("parents", instruction.parents),
        ]
      : [
          ...bool("keep-git-dir", instruction.keepGitDir),
          ...text("checksum", instruction.checksum),
          ...bool("unpack", instruction.unpack),
        ];
  return [
    ...own,
    ...text("chown", instruction.chown),
    ...text("chmod", instruction.chmod),
    ...bool("link", instruction.link),
    ...instruction.exclude.map(({ value }) => ["exclude", value.text] as const),
  ];
}

function healthFlags(instruction: HealthcheckInstruction): readonly FlagText[] {
  const { interval, timeout, startPeriod, startInterval, retries } = instruction;
  const duration = (name: string, value: number | undefined): FlagText[] =>
    value === undefined ? [] : [[name, formatDuration(value)]];
  return [
    ...duration("interval", interval),
    ...duration("timeout", timeout),
    ...duration("start-period", startPeriod),
    ...duration("start-interval", startInterval),
    ...(retries === undefined ? [] : [["retries", String(retries)] as const]),
  ];
}

const UNITS = [
  ["h", 3_600_000_000_000],
  ["m", 60_000_000_000],
  ["s", 1_000_000_000],
  ["ms", 1_000_000],
] as const;

/** In the largest unit that needs no fraction. */
function formatDuration(nanoseconds: number): string {
  const unit = UNITS.find(([, scale]) => nanoseconds % scale === 0);
  return unit === undefined ? `${nanoseconds}ns` : `${nanoseconds / unit[1]}${unit[0]}`;
}

/** Quotes what the flag's reader would otherwise take for an end, a quote or an escape. */
function formatFlag(name: string, value: string | undefined, escape: EscapeToken): string {
  if (value === undefined) return `--${name}`;
  const chars = Array.from(value, (char) => {
    if (char === escape) return escape + escape;
    if (char === "'") return `"'"`;
    return char === '"' || isSpace(char) ? `'${char}'` : char;
  });
  return `--${name}=${chars.join("")}`;
}

function argumentsOf(
  instruction: Exclude<Instruction, { kind: "ONBUILD" }>,
  escape: EscapeToken,
): string {
  switch (instruction.kind) {
    case "FROM": {
      const { image, asText } = instruction;
      return asText === undefined ? image.text : `${image.text} AS ${asText}`;
    }
    case "ARG":
      return instruction.entries
        .map(({ name, value }) => (value ? `${name.text}=${value.text}` : name.text))
        .join(" ");
    case "ENV":
    case "LABEL": {
      if (!instruction.legacy) {
        return instruction.entries.map(({ name, value }) => `${name.text}=${value.text}`).join(" ");
      }
      const words = instruction.entries.flatMap(({ name, value }) => [name.text, value.text]);
      return joined(words, escape);
    }
    case "RUN":
    case "CMD":
    case "ENTRYPOINT":
      return commandText(instruction.command);
    case "COPY":
    case "ADD":
      return copyText(instruction);
    case "WORKDIR":
      return instruction.path.text;
    case "USER":
      return instruction.user.text;
    case "EXPOSE":
      // As they stood: a no-break space at the end of a word is trimmed where that word comes last.
      return instruction.ports
        .toSorted((a, b) => a.span.start - b.span.start)
        .map(({ text }) => text)
        .join(" ");
    case "VOLUME":
      return listText(instruction.paths.map(({ text }) => text));
    case "STOPSIGNAL":
      return instruction.signal.text;
    case "SHELL":
      return jsonText(instruction.argv);
    case "HEALTHCHECK":
      return healthText(instruction.test);
    case "MAINTAINER":
      return instruction.name;
    default:
      return unreachable(instruction);
  }
}

/** Where words are told apart by an escape, too, one that ends a word protects the blank behind it: another must follow. */
function joined(words: readonly string[], escape: EscapeToken): string {
  return words.reduce((line, word) => `${line}${line.endsWith(escape) ? "  " : " "}${word}`);
}

function commandText(command: Command): string {
  return command.form === "shell" ? command.text : jsonText(command.argv);
}

function healthText([type, ...command]: readonly string[]): string {
  if (type === "NONE") return "NONE";
  return `CMD ${type === "CMD" ? jsonText(command) : (command[0] ?? "")}`;
}

function jsonText(list: readonly string[]): string {
  return `[${list.map((text) => JSON.stringify(text)).join(", ")}]`;
}

/** Plain words where they read back as they are, else JSON. */
function listText(list: readonly string[]): string {
  const isPlain = list.every((text) => text !== "" && !Array.from(text).some(isSpace));
  const plain = list.join(" ");
  return isPlain && !plain.startsWith("[") ? plain : jsonText(list);
}

function copyText({ sources, target }: Copy | Add): string {
  const words = sources.map((source) =>
    source.kind === "path" ? source.word.text : source.heredoc.word,
  );
  const list = [...words, target.text];
  if (sources.some(({ kind }) => kind === "heredoc")) return joined(list, "\\");
  const text = listText(list);
  const whole = { file: { path: "", text }, text, pieces: [] };
  // A name with << in it must not become a heredoc.
  const isSafe = !text.includes("<<") || heredocPlaces(fragmentOf(whole)).length === 0;
  return isSafe && !/(?:^| )\d*<</.test(text) ? text : jsonText(list);
}

function heredocsOf(instruction: Instruction): readonly Heredoc[] {
  const { kind } = instruction;
  if (kind === "RUN") return instruction.heredocs;
  if (kind !== "COPY" && kind !== "ADD") return [];
  return instruction.sources.flatMap((source) =>
    source.kind === "heredoc" ? [source.heredoc] : [],
  );
}

/** Continues a line that is too long, and keeps one that ends with an escape from being continued. */
function wrapped(line: string, escape: EscapeToken): string {
  const lines: string[] = [];
  let rest = line;
  while (Buffer.byteLength(rest) > WRAP) {
    const at = breakBefore(rest, Math.floor(WRAP / 4), escape);
    if (at === undefined) break;
    lines.push(rest.slice(0, at) + escape);
    rest = rest.slice(at);
  }
  // A form feed is white space, but none that may stand between an escape and the line's end.
  lines.push(continuationAt(rest, escape) === undefined ? rest : `${rest}\f`);
  return lines.join("\n");
}

/** A place where a continuation changes nothing: no escape before it, no blank line or comment behind it. */
function breakBefore(text: string, from: number, escape: EscapeToken): number | undefined {
  for (let at = from; at > 0; at -= 1) {
    const before = text.charAt(at - 1);
    const after = text.charAt(at);
    const isPair = /[\ud800-\udbff]/.test(before);
    if (before !== escape && !isPair && !isSpace(after) && after !== "#" && after !== escape) {
      return at;
    }
  }
  return undefined;
}

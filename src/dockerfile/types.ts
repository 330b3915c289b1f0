import type { Platform } from "../oci/types.js";

export interface SourceFile {
  /** As the user named it; printed in diagnostics. */
  readonly path: string;
  readonly text: string;
}

/** `[start, end)` in UTF-16 code units of `file.text`; made readable by `locate`. */
export interface Span {
  readonly file: SourceFile;
  readonly start: number;
  readonly end: number;
}

/** 1-based line and column, for people. */
export interface Position {
  readonly line: number;
  readonly column: number;
}

export interface Diagnostic {
  readonly severity: "error" | "warning";
  /** A rule's name as BuildKit has it (`StageNameCasing`), or a short kebab-case word for an error. */
  readonly code: string;
  readonly message: string;
  readonly span: Span;
  /** What to do about it. */
  readonly hint?: string;
}

/** The character that continues a line and quotes the next one in a word. */
export type EscapeToken = "\\" | "`";

/** Raw text in which `$name`, `${name…}`, quotes and escapes still stand; `expandWord` reads it. */
export interface Word {
  readonly text: string;
  readonly span: Span;
}

/** A flag's value with the place of the whole flag. */
export interface Flag<T> {
  readonly value: T;
  readonly span: Span;
}

export interface Heredoc {
  /** The word after `<<`, unquoted. */
  readonly name: string;
  /** As written, with `<<`, `-` and quotes: `<<-"EOF"`. */
  readonly word: string;
  /** File descriptor in front of `<<`; 0 when none is written. */
  readonly fd: number;
  /** False when any part of the word is quoted. */
  readonly expand: boolean;
  /** True for `<<-`: leading tabs are stripped (of `content` they still stand). */
  readonly chomp: boolean;
  /** The body's lines, each with its newline, as written. */
  readonly content: string;
  /** The word in the instruction's line. */
  readonly span: Span;
  /** The body's lines. */
  readonly body: Span;
}

export type Command =
  | { readonly form: "shell"; readonly text: string; readonly span: Span }
  | { readonly form: "exec"; readonly argv: readonly string[]; readonly span: Span };

interface Base<K extends string> {
  readonly kind: K;
  readonly span: Span;
  /** The instruction as written, continuation lines and comments joined, heredoc bodies left out. */
  readonly text: string;
  /** Comment lines directly above, without `#`. */
  readonly comments: readonly string[];
}

export interface From extends Base<"FROM"> {
  readonly image: Word;
  /** Lower case. */
  readonly as?: string;
  /** As written. */
  readonly asText?: string;
  readonly platform?: Flag<Word>;
}
export interface Arg extends Base<"ARG"> {
  readonly entries: readonly { readonly name: Word; readonly value?: Word }[];
}
export interface Env extends Base<"ENV"> {
  readonly entries: readonly { readonly name: Word; readonly value: Word }[];
  /** `ENV name rest of the line` */
  readonly legacy: boolean;
}
export interface Label extends Base<"LABEL"> {
  readonly entries: readonly { readonly name: Word; readonly value: Word }[];
  readonly legacy: boolean;
}
export interface Run extends Base<"RUN"> {
  /** As written, heredoc words included; `runScript` says what to execute. */
  readonly command: Command;
  readonly heredocs: readonly Heredoc[];
  readonly mounts: readonly RunMount[];
  readonly network?: Flag<"default" | "none" | "host">;
  readonly security?: Flag<"sandbox" | "insecure">;
  readonly devices: readonly DeviceFlag[];
}
/** `--device=name[,required]`; the value is the name. */
export interface DeviceFlag extends Flag<string> {
  readonly required: boolean;
}

interface MountBase<T extends string, V> {
  readonly type: T;
  readonly span: Span;
  /** The whole option list, from which `expandMount` makes a `ResolvedMount`. */
  readonly spec: Word;
  readonly target?: V;
}
/**
 * `--mount`, with values of type `V`. BuildKit expands every value but `from` when the step runs, so a field that is no
 * word (`type`, `uid`, `required` …) holds its default in a `RunMount` whose `spec` gives it by a variable.
 */
export type Mount<V> =
  | (MountBase<"bind", V> & {
      readonly from?: string;
      readonly source?: V;
      readonly readonly: boolean;
    })
  | (MountBase<"cache", V> & {
      readonly id?: V;
      readonly sharing: "shared" | "private" | "locked";
      readonly from?: string;
      readonly source?: V;
      readonly readonly: boolean;
      readonly uid?: number;
      readonly gid?: number;
      readonly mode?: number;
    })
  | (MountBase<"tmpfs", V> & { readonly size?: number })
  | (MountBase<"secret", V> & {
      readonly id?: V;
      readonly env?: string;
      readonly required: boolean;
      readonly uid?: number;
      readonly gid?: number;
      readonly mode?: number;
    })
  | (MountBase<"ssh", V> & {
      readonly id?: V;
      readonly required: boolean;
      readonly uid?: number;
      readonly gid?: number;
      readonly mode?: number;
    });

/** As read: the words still to be expanded. */
export type RunMount = Mount<Word>;
/** After `expandMount`. */
export type ResolvedMount = Mount<string>;

export type CopySource =
  | { readonly kind: "path"; readonly word: Word }
  | { readonly kind: "heredoc"; readonly heredoc: Heredoc };

interface CopyLike {
  readonly sources: readonly CopySource[];
  readonly target: Word;
  readonly chown?: Flag<Word>;
  readonly chmod?: Flag<Word>;
  readonly link?: Flag<boolean>;
  readonly exclude: readonly Flag<Word>[];
}
export interface Copy extends Base<"COPY">, CopyLike {
  /** Never expanded. */
  readonly from?: Flag<string>;
  readonly parents?: Flag<boolean>;
}
export interface Add extends Base<"ADD">, CopyLike {
  readonly keepGitDir?: Flag<boolean>;
  readonly checksum?: Flag<Word>;
  readonly unpack?: Flag<boolean>;
}
export interface Workdir extends Base<"WORKDIR"> {
  readonly path: Word;
}
export interface User extends Base<"USER"> {
  readonly user: Word;
}
export interface Expose extends Base<"EXPOSE"> {
  /** Sorted, as BuildKit does before it expands them. */
  readonly ports: readonly Word[];
}
export interface Volume extends Base<"VOLUME"> {
  readonly paths: readonly Word[];
}
export interface StopSignal extends Base<"STOPSIGNAL"> {
  readonly signal: Word;
}
export interface Cmd extends Base<"CMD"> {
  readonly command: Command;
}
export interface Entrypoint extends Base<"ENTRYPOINT"> {
  readonly command: Command;
}
export interface Shell extends Base<"SHELL"> {
  readonly argv: readonly string[];
}
export interface HealthcheckInstruction extends Base<"HEALTHCHECK"> {
  /** As the config holds it: `["NONE"]`, `["CMD-SHELL", text]` or `["CMD", …]`. */
  readonly test: readonly string[];
  /** Nanoseconds. */
  readonly interval?: number;
  readonly timeout?: number;
  readonly startPeriod?: number;
  readonly startInterval?: number;
  readonly retries?: number;
}
export interface Onbuild extends Base<"ONBUILD"> {
  /** What goes into the config: the text after `ONBUILD`, lines joined, heredoc bodies appended. `parseTrigger` reads it. */
  readonly trigger: string;
}
export interface Maintainer extends Base<"MAINTAINER"> {
  readonly name: string;
}

export type Instruction =
  | From
  | Arg
  | Env
  | Label
  | Run
  | Copy
  | Add
  | Workdir
  | User
  | Expose
  | Volume
  | StopSignal
  | Cmd
  | Entrypoint
  | Shell
  | HealthcheckInstruction
  | Onbuild
  | Maintainer;

export interface Stage {
  readonly index: number;
  /** Lower case. */
  readonly name: string | undefined;
  readonly from: From;
  /** Without the FROM. */
  readonly instructions: readonly Exclude<Instruction, From>[];
}

export interface Directives {
  readonly syntax?: Flag<string>;
  readonly escape?: Flag<EscapeToken>;
  readonly check?: Flag<string>;
}

/** The `check` directive, or what overrides it. */
export interface CheckOptions {
  readonly skip: ReadonlySet<string> | "all";
  readonly experimental: ReadonlySet<string> | "all";
  /** Any warning fails the build. */
  readonly error: boolean;
}

export interface Dockerfile {
  readonly file: SourceFile;
  readonly directives: Directives;
  readonly escape: EscapeToken;
  /** ARGs before the first FROM. */
  readonly globals: readonly Arg[];
  readonly stages: readonly Stage[];
  readonly check: CheckOptions;
  /** What reading the lines themselves found (the lint rules that need no plan), those switched off left out. */
  readonly warnings: readonly Diagnostic[];
}

/** Where a stage starts, once its FROM is expanded. */
export type StageBase =
  | { readonly kind: "scratch" }
  | { readonly kind: "stage"; readonly index: number }
  | { readonly kind: "image"; readonly name: string }
  /** A named context (`PlanOptions.contexts`). */
  | { readonly kind: "context"; readonly name: string };

export interface PlannedStage {
  /** Without instructions when a named context takes the stage's place. */
  readonly stage: Stage;
  readonly base: StageBase;
  /** `--platform` of the FROM (or of the stage it starts from), expanded; absent: the target platform. */
  readonly platform?: Platform;
  /** What the base left with ONBUILD, read, for the stages that it names; it runs before the stage's own. Only of needed stages. */
  readonly triggers: readonly Exclude<Instruction, From>[];
  /** Earlier stages that this one copies or mounts from, and its base stage. Only of needed stages. */
  readonly needs: ReadonlySet<number>;
}

/** The stages that the target needs, in file order; `needs` holds only earlier indexes, so there is no circle. */
export interface StagePlan {
  readonly stages: ReadonlyMap<number, PlannedStage>;
  readonly target: number;
  /** Every stage of the file, also those that the target does not need. */
  readonly all: readonly PlannedStage[];
  /** Lower-case stage names; of two stages with one name the later. */
  readonly names: ReadonlyMap<string, number>;
  /** Lower-case names of the named contexts, some with the platform that they are for: `name::linux/arm64`. */
  readonly contexts: ReadonlySet<string>;
  /** As `formatPlatform` writes it. */
  readonly targetPlatform: string;
  /** What planning found: the lint rules about FROM, and those about the instructions of needed stages. */
  readonly warnings: readonly Diagnostic[];
  readonly check: CheckOptions;
  /** Global ARGs and the automatic platform arguments, as a stage's `ARG name` inherits them. */
  readonly globalArgs: ReadonlyMap<string, string>;
}

export interface PlanOptions {
  /** A stage's name in any case, or its number. */
  readonly target?: string;
  readonly buildArgs: ReadonlyMap<string, string>;
  readonly buildPlatform: Platform;
  readonly targetPlatform: Platform;
  /** Names of further contexts, which take the place of stages and images of that name; `name::os/arch` for one platform. */
  readonly contexts?: ReadonlySet<string>;
}

/** What `COPY --from` and `--mount=from` name. */
export type FromSource =
  | { readonly kind: "stage"; readonly index: number }
  | { readonly kind: "image"; readonly name: string }
  | { readonly kind: "context"; readonly name: string }
  | { readonly kind: "scratch" };

/** Where words find their variables. */
export interface Scope {
  get(name: string): string | undefined;
  readonly escape: EscapeToken;
}

export interface Expansion {
  readonly value: string;
  /** Names that had no value, each once, for the rule UndefinedVar. */
  readonly unset: readonly string[];
}

/** What a RUN executes. */
export type RunScript =
  /** The argument of the stage's SHELL. */
  | { readonly kind: "shell"; readonly script: string }
  /** Put `content` (mode 0755) in `/dev/pipes/<name>` and give that path to the SHELL. */
  | { readonly kind: "shebang"; readonly name: string; readonly content: string }
  | { readonly kind: "exec"; readonly argv: readonly string[] };

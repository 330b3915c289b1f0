import { TsbuildError } from "../../errors.js";

type Who = "u" | "g" | "o";
/** One operation of a symbolic mode, on the permissions of `who`. */
interface Clause {
  readonly who: readonly Who[];
  readonly operator: "+" | "-" | "=";
  /** Letters of `rwxXst`, or the class whose permissions are copied. */
  readonly permissions: string;
}

/** A value of `--chmod`, read. */
export type Chmod =
  | { readonly kind: "octal"; readonly mode: number }
  | { readonly kind: "symbolic"; readonly clauses: readonly Clause[] };

const SHIFT: Readonly<Record<Who, number>> = { u: 6, g: 3, o: 0 };
const SET_ID: Readonly<Record<Who, number>> = { u: 0o4000, g: 0o2000, o: 0 };
const BIT: Readonly<Record<string, number>> = { r: 4, w: 2, x: 1 };
const STICKY = 0o1000;
const EXECUTE = 0o111;

/**
 * Reads an octal mode (0 to 07777) or a symbolic one: `u=rwX,go=rX`, `g=u`, `+x` (no umask), as chmod(1).
 * @throws TsbuildError DOCKERFILE_INVALID
 */
export function parseChmod(text: string): Chmod {
  if (/^[0-9]/.test(text)) {
    const mode = /^[0-7]+$/.test(text) ? Number.parseInt(text, 8) : Number.NaN;
    if (mode <= 0o7777) return { kind: "octal", mode };
    throw invalid(text, "it should be octal string and between 0 and 07777");
  }
  return { kind: "symbolic", clauses: text.split(",").flatMap((part) => readClauses(part, text)) };
}

/**
 * The mode of a file after `--chmod`. A symbolic mode starts from the file's own; its `X` is `x` for directories and for
 * what was executable by anyone before.
 */
export function applyChmod(chmod: Chmod, mode: number, isDirectory: boolean): number {
  if (chmod.kind === "octal") return chmod.mode;
  const searchable = isDirectory || (mode & EXECUTE) !== 0;
  return chmod.clauses.reduce((now, clause) => applyClause(clause, now, searchable), mode);
}

/** The mode of directories that have to be made: an octal mode without its set-id and sticky bits. */
export function madeDirectoryMode(chmod: Chmod | undefined): number {
  return chmod?.kind === "octal" ? chmod.mode & 0o777 : 0o755;
}

function readClauses(part: string, text: string): readonly Clause[] {
  const [, letters = "", operations] = /^([ugoa]*)((?:[-+=][rwxXstugo]*)+)$/.exec(part) ?? [];
  if (operations === undefined) throw invalid(text, "it is neither octal nor symbolic");
  const everyone = letters === "" || letters.includes("a");
  const who = (["u", "g", "o"] as const).filter((one) => everyone || letters.includes(one));
  const clauses: Clause[] = [];
  for (const [, operator, permissions = ""] of operations.matchAll(/([-+=])([rwxXstugo]*)/g)) {
    if (operator !== "+" && operator !== "-" && operator !== "=") continue;
    // "g=u" copies; several letters are a set. "=ur" does both, one after the other.
    const steps = permissions.match(/[ugo]|[rwxXst]+/g) ?? [""];
    for (const [i, step] of steps.entries()) {
      clauses.push({
        who,
        operator: operator === "=" && i > 0 ? "+" : operator,
        permissions: step,
      });
    }
  }
  return clauses;
}

function applyClause(clause: Clause, mode: number, searchable: boolean): number {
  let bits = 0;
  let affected = 0;
  for (const who of clause.who) {
    bits |= wanted(clause, who, mode, searchable);
    affected |= (0o7 << SHIFT[who]) | (isCopy(clause.permissions) ? 0 : SET_ID[who]);
  }
  // "o+t" alone means nothing, as "o+s".
  if (clause.permissions.includes("t") && clause.who.some((who) => who !== "o")) bits |= STICKY;
  if (clause.operator === "+") return mode | bits;
  if (clause.operator === "-") return mode & ~bits;
  return (mode & ~affected) | bits;
}

function wanted(clause: Clause, who: Who, mode: number, searchable: boolean): number {
  const { permissions, operator } = clause;
  if (isCopy(permissions)) return ((mode >> SHIFT[permissions]) & 0o7) << SHIFT[who];
  let bits = 0;
  for (const letter of permissions) {
    if (letter === "s") bits |= SET_ID[who];
    else if (letter !== "X") bits |= (BIT[letter] ?? 0) << SHIFT[who];
    else if (searchable || operator === "-") bits |= 1 << SHIFT[who];
  }
  return bits;
}

function isCopy(permissions: string): permissions is Who {
  return permissions === "u" || permissions === "g" || permissions === "o";
}

function invalid(text: string, why: string): TsbuildError {
  return new TsbuildError(
    "DOCKERFILE_INVALID",
    `tried to read the flag --chmod: invalid chmod parameter: '${text}'. ${why}`,
    { hint: "write an octal mode such as 0755 or a symbolic one such as u=rwX,go=rX" },
  );
}

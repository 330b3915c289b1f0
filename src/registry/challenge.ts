/** One challenge of a WWW-Authenticate header (RFC 9110, 11.6.1). */
export interface Challenge {
  /** In lower case. */
  readonly scheme: string;
  /** Names in lower case. */
  readonly parameters: Readonly<Record<string, string>>;
}

const TOKEN = /[!#$%&'*+.^_`|~0-9A-Za-z-]+/y;
const PARAMETER =
  /[ \t]*([!#$%&'*+.^_`|~0-9A-Za-z-]+)[ \t]*=[ \t]*(?:"((?:[^"\\]|\\.)*)"|([^\s,"]+))/y;
const SEPARATOR = /[ \t]*,[ \t,]*|[ \t]+/y;

/** Reads every challenge of the header; what does not follow the grammar ends the reading. */
export function parseChallenges(header: string): readonly Challenge[] {
  const challenges: { scheme: string; parameters: Record<string, string> }[] = [];
  let at = 0;
  const take = (pattern: RegExp): RegExpExecArray | undefined => {
    pattern.lastIndex = at;
    const match = pattern.exec(header);
    if (match === null) return undefined;
    at = pattern.lastIndex;
    return match;
  };
  while (at < header.length) {
    take(SEPARATOR);
    const current = challenges.at(-1);
    const parameter = take(PARAMETER);
    if (parameter !== undefined) {
      if (current === undefined) break;
      const [, name = "", quoted, bare = ""] = parameter;
      current.parameters[name.toLowerCase()] = quoted?.replace(/\\(.)/g, "$1") ?? bare;
      continue;
    }
    const scheme = take(TOKEN);
    if (scheme === undefined) break;
    challenges.push({ scheme: scheme[0].toLowerCase(), parameters: {} });
  }
  return challenges;
}

/** What a token is asked for: https://distribution.github.io/distribution/spec/auth/scope/ */
export interface Scope {
  readonly repository: string;
  readonly actions: readonly ("pull" | "push")[];
}

export function formatScope(scope: Scope): string {
  return `repository:${scope.repository}:${scope.actions.join(",")}`;
}

/** The scopes of a challenge that a repository's own scope does not say: some proxies rename repositories. */
export function otherScopes(challenge: Challenge, asked: readonly string[]): readonly string[] {
  const named = (challenge.parameters["scope"] ?? "").split(" ").filter((scope) => scope !== "");
  return named.filter((scope) => !asked.some((known) => covers(known, scope)));
}

/** Whether a scope allows everything that another one asks. */
export function covers(known: string, wanted: string): boolean {
  const [knownName, knownActions] = splitActions(known);
  const [wantedName, wantedActions] = splitActions(wanted);
  return knownName === wantedName && wantedActions.every((action) => knownActions.includes(action));
}

function splitActions(scope: string): readonly [name: string, actions: readonly string[]] {
  const colon = scope.lastIndexOf(":");
  return [scope.slice(0, colon), scope.slice(colon + 1).split(",")];
}

/** Compares an image with what a case says that it holds. */
import { isDeepStrictEqual } from "node:util";
import type { Case, FileWant } from "./cases.js";
import type { FlatImage, History, Node } from "./image.js";

/** What is wrong, a sentence each; empty when the image is as the case says. */
export function judgeImage(one: Case, image: FlatImage): readonly string[] {
  const configured = image.config.config ?? {};
  return [
    ...Object.entries(one.files ?? {}).flatMap(([path, want]) => judgeFile(path, want, image)),
    ...judgeTree(one.exactTree, image),
    ...Object.entries(one.config ?? {}).flatMap(([key, want]) => judgeKey(key, want, configured)),
    ...Object.entries(one.image ?? {}).flatMap(([key, want]) =>
      differs(`image.${key}`, image.config[key] ?? "", want),
    ),
    ...(one.layers === undefined ? [] : differs("layers", image.layers, one.layers)),
    ...(one.indexPlatforms === undefined
      ? []
      : differs("platforms", [...image.platforms].sort(), [...one.indexPlatforms].sort())),
    ...judgeHistory(one, image),
  ];
}

function differs(what: string, have: unknown, want: unknown): readonly string[] {
  if (isDeepStrictEqual(have, want)) return [];
  return [`${what} is ${short(have)}, not ${short(want)}`];
}

function short(value: unknown): string {
  return (JSON.stringify(value) ?? "absent").slice(0, 300);
}

function judgeFile(path: string, want: FileWant, image: FlatImage): readonly string[] {
  const name = path === "/" ? path : path.replace(/\/+$/, "");
  const node = image.nodes.get(name);
  if (want.absent === true) return node === undefined ? [] : [`${path} is there: ${node.type}`];
  if (node === undefined) return [`${path} is missing`];
  const content = node.data.toString("utf8");
  const matches = (pattern: string): boolean => new RegExp(pattern, "s").test(content);
  const wrong: string[] = [];
  const compare = (key: keyof Node, expected: unknown): void => {
    if (expected !== undefined) wrong.push(...differs(`${path}: ${key}`, node[key], expected));
  };
  compare("type", want.type);
  compare("mode", want.mode === undefined ? undefined : Number.parseInt(want.mode, 8));
  compare("uid", want.uid);
  compare("gid", want.gid);
  compare("linkname", want.linkname);
  if (want.mtime !== undefined) {
    wrong.push(...differs(`${path}: mtime`, Math.floor(node.mtime), want.mtime));
  }
  if (want.content !== undefined) {
    wrong.push(...differs(`${path}: content`, content, want.content));
  }
  if (want.contentRegex !== undefined && !matches(want.contentRegex)) {
    wrong.push(`${path}: ${short(content)} does not match /${want.contentRegex}/`);
  }
  if (want.notContentRegex !== undefined && matches(want.notContentRegex)) {
    wrong.push(`${path}: ${short(content)} matches /${want.notContentRegex}/`);
  }
  if (want.sameFileAs !== undefined && image.nodes.get(want.sameFileAs) !== node) {
    wrong.push(`${path} is no hard link of ${want.sameFileAs}`);
  }
  return wrong;
}

function judgeTree(want: readonly string[] | undefined, image: FlatImage): readonly string[] {
  if (want === undefined) return [];
  const have = [...image.nodes.keys()].filter((path) => path !== "/").sort();
  return differs("tree", have, [...want].sort());
}

/** A key of the case's `config`: most are the image specification's, some say how to compare one of those. */
function judgeKey(
  key: string,
  want: unknown,
  config: Readonly<Record<string, unknown>>,
): readonly string[] {
  const environment = strings(config["Env"]);
  const labels = record(config["Labels"]);
  switch (key) {
    case "Env":
      return missing("Env", environment, strings(want));
    case "EnvExact":
      return differs("Env", environment, want);
    case "EnvAbsent":
      return strings(want).flatMap((name) =>
        environment.some((pair) => pair.split("=")[0] === name) ? [`Env has ${name}`] : [],
      );
    case "Labels":
      return Object.entries(record(want)).flatMap(([name, value]) =>
        differs(`label ${name}`, labels[name], value),
      );
    case "LabelsAbsent":
      return strings(want).flatMap((name) => (name in labels ? [`label ${name} is there`] : []));
    case "ExposedPorts":
    case "Volumes":
      return differs(key, Object.keys(record(config[key])).sort(), [...strings(want)].sort());
    case "Healthcheck":
      return judgeHealthcheck(config[key], want);
    case "User":
    case "StopSignal":
    case "WorkingDir":
      return differs(key, config[key] ?? "", want ?? "");
    default:
      return differs(key, orNull(config[key]), want);
  }
}

function missing(
  what: string,
  have: readonly string[],
  want: readonly string[],
): readonly string[] {
  return want.flatMap((item) =>
    have.includes(item) ? [] : [`${what} lacks ${item}: ${short(have)}`],
  );
}

function judgeHealthcheck(have: unknown, want: unknown): readonly string[] {
  if (want === null) return differs("Healthcheck", orNull(have), null);
  return Object.entries(record(want)).flatMap(([name, value]) =>
    differs(`Healthcheck.${name}`, record(have)[name] ?? (value === 0 ? 0 : undefined), value),
  );
}

/** An empty list, object or text is the same as none. */
function orNull(value: unknown): unknown {
  const isEmpty = typeof value === "object" && value !== null && Object.keys(value).length === 0;
  return value === undefined || value === "" || isEmpty ? null : value;
}

function strings(value: unknown): readonly string[] {
  return Array.isArray(value) ? value.map(String) : [];
}

function record(value: unknown): Readonly<Record<string, unknown>> {
  return typeof value === "object" && value !== null ? { ...value } : {};
}

function judgeHistory(one: Case, image: FlatImage): readonly string[] {
  const history = image.config.history ?? [];
  const wrong: string[] = [];
  const forbidden = one.historyNotRegex;
  if (forbidden !== undefined) {
    const said = history.filter((item) => matches(item, forbidden));
    wrong.push(...said.map((item) => `history has ${item.created_by}`));
  }
  const wanted = one.history ?? [];
  const last = wanted.length === 0 ? [] : history.slice(-wanted.length);
  for (const [i, want] of wanted.entries()) {
    const item = last[i] ?? {};
    const name = `history[${i - wanted.length}]`;
    if (want.re !== undefined && !matches(item, want.re)) {
      wrong.push(`${name} ${short(item.created_by)} does not match /${want.re}/`);
    }
    if (want.empty !== undefined) {
      wrong.push(...differs(`${name}.empty_layer`, item.empty_layer === true, want.empty));
    }
    if (want.created !== undefined) {
      wrong.push(...differs(`${name}.created`, item.created, want.created));
    }
  }
  const written = history.filter((item) => item.empty_layer !== true).length;
  return [...wrong, ...differs("history entries with a layer", written, image.layers)];
}

function matches(item: History, pattern: string): boolean {
  return new RegExp(pattern, "s").test(item.created_by ?? "");
}

import { createHash } from "node:crypto";
import { isSecretName } from "../../dockerfile/index.js";
import { definitionOf, keyOf, type CacheKey } from "./key.js";
import type {
  StageBase,
  Chain,
  Ingredient,
  Memory,
  Remembered,
  StepInputs,
  ContentDigest,
} from "./types.js";

/** Names of files in one line. */
const SHOWN_FILES = 5;
/** Characters of one value. */
const SHOWN_VALUE = 60;

/** Where a step stands, for finding it again in the next build: by its text, else by its number. */
export interface StepPlace {
  /** The Dockerfile, the platform. */
  readonly scope: string;
  readonly stage: string;
  readonly text: string;
  /** In its stage. */
  readonly number: number;
}

/** What a step is made of now. */
export interface StepSubject {
  readonly place: StepPlace;
  readonly chain: Chain;
  readonly inputs: StepInputs;
  readonly digests: readonly (ContentDigest | undefined)[];
  /** What its stage begins with, where that is no other stage and this is the first step upon it. */
  readonly base?: StageBase | undefined;
}

/** Why a step that was not found is made anew, a line each: what has changed since it was made last. */
export async function whyMissed(subject: StepSubject, memory: Memory): Promise<readonly string[]> {
  const now = await rememberedOf(subject);
  const [byText, byNumber] = placesOf(subject.place);
  const before = (await memory.recall(byText)) ?? (await memory.recall(byNumber));
  if (before === undefined) return ["no earlier build of this step is known"];
  const changes = [
    ...baseChanges(before, now),
    ...factChanges(before.facts, now.facts),
    ...contentChanges(before, now),
  ];
  if (changes.length > 0) return changes;
  if (before.parent !== now.parent) return ["what it is built upon has changed"];
  return ["its layer is not kept any more, or was made upon another result of the steps before it"];
}

/** Keeps what the step is made of for the next time. */
export async function rememberStep(subject: StepSubject, memory: Memory): Promise<void> {
  const now = await rememberedOf(subject);
  for (const place of placesOf(subject.place)) await memory.remember(place, now);
}

/** Said at the first step upon it. */
function baseChanges({ base: old }: Remembered, { base: now }: Remembered): readonly string[] {
  if (old === undefined || now === undefined) return [];
  const [was, is] = [`FROM ${old.name}`, `FROM ${now.name}`];
  if (was !== is) return [`${was} -> ${is}`];
  return old.files === now.files ? [] : [`${is} has other layers than last time`];
}

function placesOf({ scope, stage, text, number }: StepPlace): readonly [CacheKey, CacheKey] {
  const common = [
    { name: "scope", value: scope },
    { name: "stage", value: stage },
  ];
  return [
    keyOf([...common, { name: "text", value: text }]),
    keyOf([...common, { name: "number", value: String(number) }]),
  ];
}

async function rememberedOf({ chain, inputs, digests, base }: StepSubject): Promise<Remembered> {
  const contents: Remembered["contents"][number][] = [];
  for (const [at, { name, definition }] of inputs.contents.entries()) {
    const found = digests[at];
    const files = await found?.files?.();
    const digest = found?.digest ?? definition ?? "";
    contents.push({ name, digest, ...(files === undefined ? {} : { files }) });
  }
  const facts = inputs.facts.map(withoutSecret);
  const known = { parent: definitionOf(chain), facts, contents };
  return base === undefined ? known : { ...known, base };
}

/** Of a value whose name says that it is secret, only whether it has changed can be told. */
function withoutSecret({ name, value }: Ingredient): Ingredient {
  const variable = /^(?:build-arg|ENV) (?<name>.+)$/s.exec(name)?.groups?.["name"];
  if (variable === undefined || !isSecretName(variable)) return { name, value };
  return { name, value: `sha256:${createHash("sha256").update(value).digest("hex").slice(0, 12)}` };
}

function factChanges(before: readonly Ingredient[], now: readonly Ingredient[]): readonly string[] {
  const [old, fresh] = [byName(before), byName(now)];
  const names = new Set([...old.keys(), ...fresh.keys()]);
  return [...names].flatMap((name) => {
    const [was, is] = [old.get(name), fresh.get(name)];
    if (was === is) return [];
    if (was === undefined) return [`${name} is new: ${shown(is)}`];
    if (is === undefined) return [`${name} is gone: ${shown(was)}`];
    return [`${name} ${shown(was)} -> ${shown(is)}`];
  });
}

function byName(facts: readonly Ingredient[]): ReadonlyMap<string, string> {
  const named = new Map<string, string>();
  for (const { name, value } of facts) {
    const before = named.get(name);
    named.set(name, before === undefined ? value : `${before} ${value}`);
  }
  return named;
}

function shown(value = ""): string {
  const line = value.replaceAll(/\s+/g, " ");
  const text = line.length > SHOWN_VALUE ? `${line.slice(0, SHOWN_VALUE)}…` : line;
  return text === "" || text.includes(" ") ? JSON.stringify(text) : text;
}

function contentChanges(before: Remembered, now: Remembered): readonly string[] {
  return now.contents.flatMap((content, at) => {
    const old = before.contents[at];
    if (old === undefined) return [`${content.name} is new`];
    // What was not read says nothing.
    if (old.digest === content.digest || content.digest === "") return [];
    if (old.files === undefined || content.files === undefined) {
      return [`${content.name} has changed`];
    }
    return fileChanges(content.name, old.files, content.files);
  });
}

function fileChanges(
  name: string,
  before: ReadonlyMap<string, string>,
  now: ReadonlyMap<string, string>,
): readonly string[] {
  const changed = [...now].flatMap(([path, digest]) => {
    const old = before.get(path);
    return old !== undefined && old !== digest ? [path] : [];
  });
  const added = [...now.keys()].filter((path) => !before.has(path));
  const removed = [...before.keys()].filter((path) => !now.has(path));
  const lines = [
    ...(changed.length === 0
      ? []
      : [`${changed.length} of ${now.size} files changed: ${list(changed)}`]),
    ...(added.length === 0 ? [] : [`${added.length} added: ${list(added)}`]),
    ...(removed.length === 0 ? [] : [`${removed.length} removed: ${list(removed)}`]),
  ];
  return lines.length === 0 ? [`${name} has changed`] : lines;
}

function list(paths: readonly string[]): string {
  const names = paths.slice(0, SHOWN_FILES).join(", ");
  return paths.length > SHOWN_FILES ? `${names}, …` : names;
}

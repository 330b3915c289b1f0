/** Dockerfiles and contexts drawn at random, and one thing changed in them. */
import fc from "fast-check";
import { chmod, mkdir, rm, utimes, writeFile } from "node:fs/promises";
import { dirname, join } from "node:path";

export interface BuildCase {
  readonly files: ReadonlyMap<string, string>;
  readonly ignored: readonly string[];
  /** Lines of each stage, without its FROM. */
  readonly stages: readonly (readonly string[])[];
  readonly args: Readonly<Record<string, string>>;
}

/** What is changed, and whether any step can see it. */
export interface CaseChange {
  readonly what: string;
  readonly isSeen: "yes" | "no" | "perhaps";
  readonly to: BuildCase;
  /** Every file gets another time. */
  readonly touches: boolean;
  readonly modes: ReadonlyMap<string, number>;
}

const NAMES = ["a", "b", "dir/c", "dir/d.txt", "dir/deep/e", "other/f.txt", "other/.hidden"];
const IGNORES = ["b", "dir/deep", "*.txt", "**/*.txt", "other", "!other/f.txt", "dir/*"];

const file = fc.constantFrom(...NAMES);
const word = fc.constantFrom("one", "two", "three");
const target = fc.constantFrom("/in/", "/in/x/", "/y/");

const copy = fc
  .record({
    source: fc.constantFrom(".", "dir", "dir/*", "oth*", "a", "a b", "dir/c", "*"),
    target,
    flag: fc.constantFrom(
      "",
      "",
      "--chmod=640 ",
      "--chown=3:4 ",
      "--link ",
      "--exclude=*.txt ",
      "--parents ",
    ),
  })
  .map((it) => `COPY ${it.flag}${it.source} ${it.target}`);

/** Everything that it can see goes into what it makes. */
const run = fc
  .record({
    mount: fc.constantFrom(
      "",
      "",
      "--mount=type=bind,source=dir,target=/m ",
      "--mount=type=bind,target=/m ",
      "--mount=type=tmpfs,target=/m ",
      "--mount=type=cache,target=/m ",
      "--mount=type=secret,id=s ",
    ),
    out: word,
  })
  .map(({ mount, out }) => {
    const reads = mount.includes("type=bind") ? "find /in /m" : "find /in";
    return `RUN ${mount}{ echo "$ONE $TWO $E"; id -u; pwd; ${reads} -type f 2>/dev/null | sort | while read f; do echo "$f"; cat "$f"; done; } > /tmp/out-${out}`;
  });

const line = fc.oneof(
  { weight: 4, arbitrary: copy },
  { weight: 4, arbitrary: run },
  word.map((value) => `ENV E=${value}`),
  fc.constantFrom("ARG ONE", "ARG TWO=two", "ARG UNUSED"),
  word.map((value) => `LABEL l=${value}`),
  word.map((value) => `WORKDIR /work/${value}`),
  word.map((value) => `COPY <<EOF /in/heredoc\n${value} $ONE\nEOF`),
  word.map((value) => `CMD ["${value}"]`),
);

const stageLines = fc.array(line, { minLength: 1, maxLength: 5 });
const fromStage = fc.constantFrom(
  "COPY --from=s0 /tmp /from/",
  "COPY --from=s0 /in* /from/",
  "RUN --mount=type=bind,from=s0,source=/tmp,target=/m cat /m/out-* > /tmp/out-four 2>/dev/null || true",
);

export const cases: fc.Arbitrary<BuildCase> = fc
  .record({
    contents: fc.array(fc.constantFrom("x", "y", "z"), {
      minLength: NAMES.length,
      maxLength: NAMES.length,
    }),
    ignored: fc.subarray(IGNORES, { maxLength: 2 }),
    first: stageLines,
    second: fc.option(fc.tuple(fromStage, stageLines), { nil: undefined }),
    args: fc.record({ ONE: word, TWO: word }),
  })
  .map(({ contents, ignored, first, second, args }) => ({
    files: new Map(NAMES.map((name, at) => [name, contents[at] ?? ""])),
    ignored,
    stages: second === undefined ? [first] : [first, [...second[1], second[0]]],
    args,
  }));

const touched = (to: BuildCase): CaseChange => ({
  what: "every file touched",
  isSeen: "no",
  to,
  touches: true,
  modes: new Map(),
});

/** One thing changed. */
export const changes: fc.Arbitrary<(from: BuildCase) => CaseChange> = fc.oneof(
  fc.constant(touched),
  fc.constant((to: BuildCase) => ({ ...touched(to), what: "nothing", touches: false })),
  fc.constant((from: BuildCase) => {
    const to = { ...from, args: { ...from.args, NOBODY: "asks" } };
    return { ...touched(to), what: "an argument that nobody declares", touches: false };
  }),
  fc.tuple(file, word).map(([name, value]) => (from: BuildCase) => {
    const to = { ...from, files: new Map([...from.files, [name, value]]) };
    return changed(`the content of ${name}`, to);
  }),
  file.map((name) => (from: BuildCase) => {
    const files = new Map(from.files);
    files.delete(name);
    return changed(`no ${name}`, { ...from, files });
  }),
  word.map((name) => (from: BuildCase) => {
    const files = new Map([...from.files, [`dir/new-${name}`, name]]);
    return changed(`a new dir/new-${name}`, { ...from, files });
  }),
  file.map((name) => (from: BuildCase) => ({
    ...changed(`the mode of ${name}`, from),
    modes: new Map([[name, 0o755]]),
  })),
  fc.tuple(fc.constantFrom("ONE", "TWO"), fc.constant("changed")).map(
    ([name, value]) =>
      (from: BuildCase) =>
        changed(`the argument ${name}`, { ...from, args: { ...from.args, [name]: value } }),
  ),
  fc.tuple(fc.nat(1), fc.nat(5), line).map(([stage, at, added]) => (from: BuildCase) => {
    const stages = from.stages.map((lines, index) =>
      index === stage ? lines.toSpliced(Math.min(at, lines.length - 1), 0, added) : lines,
    );
    return changed(`one more line: ${added}`, { ...from, stages });
  }),
  fc.tuple(fc.nat(1), fc.nat(5)).map(([stage, at]) => (from: BuildCase) => {
    const stages = from.stages.map((lines, index) =>
      index === stage && lines.length > 1 ? lines.toSpliced(at % (lines.length - 1), 1) : lines,
    );
    return changed("a line less", { ...from, stages });
  }),
  fc
    .constantFrom(...IGNORES)
    .map(
      (pattern) => (from: BuildCase) =>
        changed(`${pattern} ignored`, { ...from, ignored: [...from.ignored, pattern] }),
    ),
);

function changed(what: string, to: BuildCase): CaseChange {
  return { what, isSeen: "perhaps", to, touches: false, modes: new Map() };
}

export function dockerfileOf({ stages }: BuildCase): string {
  return stages
    .map((lines, at) => [`FROM base AS s${at}`, ...lines].join("\n"))
    .join("\n")
    .concat("\n");
}

/** Makes the context what the case says. */
export async function writeCase(directory: string, from: BuildCase): Promise<void> {
  for (const name of [...NAMES, "dir", "other"]) {
    await rm(join(directory, name), { recursive: true, force: true });
  }
  for (const [name, content] of from.files) {
    const path = join(directory, name);
    await mkdir(dirname(path), { recursive: true });
    await writeFile(path, content);
  }
  await writeFile(
    join(directory, ".dockerignore"),
    `${["Dockerfile", ".dockerignore", ...from.ignored].join("\n")}\n`,
  );
  await writeFile(join(directory, "Dockerfile"), dockerfileOf(from));
}

/** Changes only what has changed. */
export async function applyChange(
  directory: string,
  before: BuildCase,
  change: CaseChange,
): Promise<void> {
  const { to, touches, modes } = change;
  for (const name of before.files.keys()) {
    if (!to.files.has(name)) await rm(join(directory, name), { force: true });
  }
  for (const [name, content] of to.files) {
    const path = join(directory, name);
    if (before.files.get(name) !== content) {
      await mkdir(dirname(path), { recursive: true });
      await writeFile(path, content);
    }
    if (touches) await utimes(path, new Date(), new Date(1_500_000_000_000));
    const mode = modes.get(name);
    if (mode !== undefined) await chmod(path, mode);
  }
  await writeFile(
    join(directory, ".dockerignore"),
    `${["Dockerfile", ".dockerignore", ...to.ignored].join("\n")}\n`,
  );
  await writeFile(join(directory, "Dockerfile"), dockerfileOf(to));
}

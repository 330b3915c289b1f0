/** Dockerfiles and contexts drawn at random, and one thing changed in them. */
import fc from "fast-check";
import { chmod, lstat, lutimes, mkdir, rm, symlink, writeFile } from "node:fs/promises";
import { dirname, join } from "node:path";
import { writeTar } from "../support/tools-tar.js";

export interface BuildCase {
  /** By path: text, `LINK` before a link's target, `ARCHIVE` before what the one file in it says, or `DIRECTORY`. */
  readonly files: ReadonlyMap<string, string>;
  readonly ignored: readonly string[];
  readonly stages: readonly StageCase[];
  readonly args: Readonly<Record<string, string>>;
  /** No step can see it. */
  readonly secret: string;
}

interface StageCase {
  readonly from: string;
  /** Without its FROM. */
  readonly lines: readonly string[];
}

/** What is changed, and whether any step can see it. */
export interface CaseChange {
  readonly what: string;
  readonly isSeen: "no" | "perhaps";
  readonly to: BuildCase;
  /** Every file gets another time. */
  readonly touches: boolean;
  readonly modes: ReadonlyMap<string, number>;
}

const LINK = "-> ";
const ARCHIVE = "tar:";
const DIRECTORY = "/";

const NAMES = ["a", "b", "dir/c", "dir/d.txt", "dir/deep/e", "other/f.txt", "other/.hidden", "t"];
const IGNORES = ["b", "dir/deep", "*.txt", "**/*.txt", "other", "!other/f.txt", "dir/*", "!dir/c"];

const file = fc.constantFrom(...NAMES);
const word = fc.constantFrom("one", "two", "three");
const content = fc.oneof(
  { weight: 8, arbitrary: fc.constantFrom("x", "y", "z") },
  fc.constantFrom("b", "dir", "deep/e", "../a", "nowhere", "/in").map((to) => `${LINK}${to}`),
  word.map((text) => `${ARCHIVE}${text}`),
  fc.constant(DIRECTORY),
);
const target = fc.constantFrom("/in/", "/in/x/", "/y/", "/y", "/link/");

const COPY_FLAGS = [
  "",
  "",
  "",
  "--chmod=640 ",
  "--chmod=u+x ",
  "--chown=3:4 ",
  "--link ",
  "--exclude=*.txt ",
  "--parents ",
  "--link --chown=5 ",
  "--parents --exclude=**/e ",
];
const copy = fc
  .record({
    source: fc.constantFrom(".", "dir", "dir/*", "oth*", "a", "a b", "dir/c", "*", "d*/", "none*"),
    target,
    flag: fc.constantFrom(...COPY_FLAGS),
  })
  .map((it) => `COPY ${it.flag}${it.source} ${it.target}`);

const add = fc
  .record({
    source: fc.constantFrom("a", "t", "dir", "b t"),
    target,
    flag: fc.constantFrom("", "--unpack=false ", "--chown=6:7 "),
  })
  .map((it) => `ADD ${it.flag}${it.source} ${it.target}`);

const MOUNTS = [
  "",
  "",
  "",
  "--mount=type=bind,source=dir,target=/m ",
  "--mount=type=bind,target=/m ",
  "--mount=type=bind,target=/m,rw ",
  "--mount=type=tmpfs,target=/m ",
  "--network=none ",
  "--mount=type=cache,target=/c ",
  "--mount=type=secret,id=s ",
];
/** Names, types, modes, owners, links and contents below the directories that are there. */
const LIST =
  'find /in /y /m 2>/dev/null | sort | while read f; do stat -c "%n %f %u %g" "$f"; readlink "$f"; [ ! -f "$f" ] || cat "$f"; done';

/** Everything that it can see goes into what it makes. */
const run = fc
  .record({ mount: fc.constantFrom(...MOUNTS), out: word, isHeredoc: fc.boolean() })
  .map(({ mount, out, isHeredoc }) => {
    const script = `{ env | sort; id; pwd; ${LIST}; } > /tmp/out-${out}`;
    return isHeredoc ? `RUN ${mount}<<EOF\n${script}\nEOF` : `RUN ${mount}${script}`;
  });

const line = fc.oneof(
  { weight: 5, arbitrary: copy },
  { weight: 5, arbitrary: run },
  { weight: 2, arbitrary: add },
  { weight: 2, arbitrary: fc.constantFrom("ARG ONE", "ARG TWO=two", "ARG UNUSED", "ARG GLOBAL") },
  word.map((value) => `ENV E=${value}`),
  word.map((value) => `LABEL l=${value}`),
  fc.constantFrom("WORKDIR /work/one", "WORKDIR two", "WORKDIR /work/$ONE"),
  word.map((value) => `COPY <<EOF /in/heredoc\n${value} $ONE\nEOF`),
  word.map((value) => `CMD ["${value}"]`),
  fc.constantFrom(
    "USER 3:4",
    "USER 0",
    'SHELL ["/bin/sh", "-ec"]',
    "VOLUME /in",
    "EXPOSE $ONE/tcp",
  ),
  fc.constantFrom("RUN ln -s /y /link", "RUN rm -rf /in", "RUN mkdir -p /in/x && touch /in/x/made"),
  word.map((value) => `ONBUILD COPY a /in/${value}`),
);

const stageLines = fc.array(line, { minLength: 1, maxLength: 5 });
const fromStage = fc.constantFrom(
  "COPY --from=s0 /tmp /from/",
  "COPY --from=s0 /in* /from/",
  "COPY --from=s0 --exclude=*.txt /y* /in /from/",
  "COPY --from=s0 --parents --link /in/./x* /from/",
  "RUN --mount=type=bind,from=s0,target=/m cat /m/tmp/out-* /m/in/* > /tmp/out-four 2>/dev/null || true",
  "RUN --mount=type=bind,from=s0,source=/tmp,target=/m cat /m/out-* > /tmp/out-four 2>/dev/null || true",
);

export const cases: fc.Arbitrary<BuildCase> = fc
  .record({
    contents: fc.array(content, { minLength: NAMES.length, maxLength: NAMES.length }),
    ignored: fc.subarray(IGNORES, { maxLength: 2 }),
    first: stageLines,
    more: fc.array(
      fc.record({ from: fc.constantFrom("base", "base", "s0"), fromStage, lines: stageLines }),
      { maxLength: 2 },
    ),
    args: fc.record({ ONE: word, TWO: word, GLOBAL: word }),
  })
  .map(({ contents, ignored, first, more, args }) => ({
    files: new Map(NAMES.map((name, at) => [name, contents[at] ?? ""])),
    ignored,
    stages: [
      { from: "base", lines: first },
      ...more.map(({ from, lines, ...of }) => ({ from, lines: [...lines, of.fromStage] })),
    ],
    args,
    secret: "a secret",
  }));

const unseen = (what: string, to: BuildCase): CaseChange => ({
  ...changed(what, to),
  isSeen: "no",
});

/** One thing changed. */
export const changes: fc.Arbitrary<(from: BuildCase) => CaseChange> = fc.oneof(
  fc.constant((to: BuildCase) => ({ ...unseen("every file touched", to), touches: true })),
  fc.constant((to: BuildCase) => unseen("nothing", to)),
  fc.constant((from: BuildCase) =>
    unseen("an argument that nobody declares", { ...from, args: { ...from.args, NOBODY: "asks" } }),
  ),
  fc.constant((from: BuildCase) => unseen("a secret", { ...from, secret: "another" })),
  {
    weight: 3,
    arbitrary: fc.tuple(file, content).map(([name, value]) => (from: BuildCase) => {
      const to = { ...from, files: new Map([...from.files, [name, value]]) };
      return changed(`${name} is ${value}`, to);
    }),
  },
  file.map((name) => (from: BuildCase) => {
    const files = new Map(from.files);
    files.delete(name);
    return changed(`no ${name}`, { ...from, files });
  }),
  fc.tuple(word, content).map(([name, value]) => (from: BuildCase) => {
    const files = new Map([...from.files, [`dir/new-${name}`, value]]);
    return changed(`a new dir/new-${name}, ${value}`, { ...from, files });
  }),
  file.map((name) => (from: BuildCase) => ({
    ...changed(`the mode of ${name}`, from),
    modes: new Map([[name, 0o755]]),
  })),
  fc.constantFrom("ONE", "TWO", "GLOBAL").map((name) => (from: BuildCase) => {
    return changed(`the argument ${name}`, { ...from, args: { ...from.args, [name]: "changed" } });
  }),
  fc.tuple(fc.nat(2), fc.nat(5), line).map(([stage, at, added]) => (from: BuildCase) => {
    const change = (lines: readonly string[]): readonly string[] =>
      lines.toSpliced(Math.min(at, lines.length - 1), 0, added);
    return changed(`one more line: ${added}`, changeLines(from, stage, change));
  }),
  fc.tuple(fc.nat(2), fc.nat(5)).map(([stage, at]) => (from: BuildCase) => {
    const change = (lines: readonly string[]): readonly string[] =>
      lines.length > 1 ? lines.toSpliced(at % (lines.length - 1), 1) : lines;
    return changed("a line less", changeLines(from, stage, change));
  }),
  fc
    .constantFrom(...IGNORES)
    .map(
      (pattern) => (from: BuildCase) =>
        changed(`${pattern} ignored`, { ...from, ignored: [...from.ignored, pattern] }),
    ),
);

function changeLines(
  from: BuildCase,
  stage: number,
  change: (lines: readonly string[]) => readonly string[],
): BuildCase {
  const stages = from.stages.map((it, at) =>
    at === stage ? { ...it, lines: change(it.lines) } : it,
  );
  return { ...from, stages };
}

function changed(what: string, to: BuildCase): CaseChange {
  return { what, isSeen: "perhaps", to, touches: false, modes: new Map() };
}

export function dockerfileOf({ stages }: BuildCase): string {
  const texts = stages.map(({ from, lines }, at) => [`FROM ${from} AS s${at}`, ...lines]);
  return `ARG GLOBAL\n${texts.flat().join("\n")}\n`;
}

/** What makes a changed context what it was. */
export function undo(to: BuildCase, modes: CaseChange["modes"]): CaseChange {
  const before = [...modes.keys()].map((name) => {
    return [name, to.files.get(name) === DIRECTORY ? 0o755 : 0o644] as const;
  });
  return { ...unseen("back", to), modes: new Map(before) };
}

/** Makes the context what the case says. */
export async function writeCase(directory: string, from: BuildCase): Promise<void> {
  for (const [name, value] of from.files) await writeOne(join(directory, name), value);
  await writeTexts(directory, from);
}

/** Changes only what has changed. */
export async function applyChange(
  directory: string,
  before: BuildCase,
  change: CaseChange,
): Promise<void> {
  const { to, touches, modes } = change;
  for (const name of before.files.keys()) {
    if (!to.files.has(name)) await rm(join(directory, name), { recursive: true });
  }
  for (const [name, value] of to.files) {
    const path = join(directory, name);
    if (before.files.get(name) !== value) await writeOne(path, value);
    if (touches) await lutimes(path, new Date(), new Date(1_500_000_000_000));
    const mode = modes.get(name);
    if (mode !== undefined && !(await lstat(path)).isSymbolicLink()) await chmod(path, mode);
  }
  await writeTexts(directory, to);
}

async function writeOne(path: string, value: string): Promise<void> {
  await rm(path, { recursive: true, force: true });
  await mkdir(dirname(path), { recursive: true });
  if (value === DIRECTORY) await mkdir(path);
  else if (value.startsWith(LINK)) await symlink(value.slice(LINK.length), path);
  else if (value.startsWith(ARCHIVE)) await writeFile(path, archiveOf(value));
  else await writeFile(path, value);
}

function archiveOf(value: string): Buffer {
  return writeTar([{ name: "in-archive", type: "file", data: value }]);
}

async function writeTexts(
  directory: string,
  { ignored, secret, ...from }: BuildCase,
): Promise<void> {
  const patterns = ["Dockerfile", ".dockerignore", ".secret", ...ignored];
  await writeFile(join(directory, ".dockerignore"), `${patterns.join("\n")}\n`);
  await writeFile(join(directory, ".secret"), secret);
  await writeFile(join(directory, "Dockerfile"), dockerfileOf({ ignored, secret, ...from }));
}

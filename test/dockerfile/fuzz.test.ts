import fc from "fast-check";
import { expect, test } from "vitest";
import {
  DockerfileError,
  expandMount,
  expandWord,
  parseDockerfile,
  planStages,
  printDockerfile,
  runScript,
  type Dockerfile,
  type Instruction,
  type Scope,
  type Word,
} from "../../src/dockerfile/index.js";
import { meaning } from "./support.js";

/** More with TSBUILD_FUZZ_RUNS=100000. */
const RUNS = Number(process.env["TSBUILD_FUZZ_RUNS"] ?? 2_000);
/** Microseconds of the processor that one small file may take; far more than it needs. */
const PATIENCE = 5_000_000;

const LINES = [
  "FROM scratch",
  "FROM --platform=$TARGETPLATFORM alpine:${V:-3} AS Build",
  "FROM build",
  "ARG V=1 W=${V%%.*} X",
  "ENV A=1 B='x y' C=\"$A\" D=a\\ b",
  "ENV legacy the rest",
  'LABEL a.b="c d" e=${A:?no}',
  "RUN a && \\",
  "  # comment",
  "  b | c",
  "RUN --mount=type=cache,target=/c,uid=$U --network=none make",
  "RUN --mount=type=secret,id=s,required <<EOF",
  "RUN 3<<-'EOF' cat <<X",
  "COPY --from=build --chown=a:b --link a b /c/",
  'COPY <<EOF <<-"X" /d',
  'COPY ["a b", "c"]',
  "ADD --checksum=sha256:x --unpack http://x/y z",
  "EOF",
  "\tX",
  "EXPOSE 80 $P 1-3/udp",
  "VOLUME /a",
  'CMD ["a", "b"]',
  "ENTRYPOINT a",
  'SHELL ["/bin/sh", "-c"]',
  "HEALTHCHECK --interval=1m30s CMD x",
  "ONBUILD COPY --from=build <<EOF /d",
  "STOPSIGNAL SIGTERM",
  "USER a:b",
  "WORKDIR ${A#*/}/x",
  "MAINTAINER me",
  "# escape=`",
  "# check=error=true",
  "",
];
const PIECES = [
  "\\",
  "`",
  "'",
  '"',
  "$",
  "${",
  "}",
  ":-",
  "#",
  "%%",
  "/",
  "<<",
  "<<-",
  "<<EOF",
  "[",
  "]",
  ",",

  "--",
  "--mount=",
  "--from=0",
  "=",
  " ",
  "\t",
  "\n",
  "\r\n",
  "\\\n",
  "\f",
  "\u00a0",
  "\u2028",
  "\uFEFF",

  "\u0000",
  "é",
  "👽",
  "\ud800",
  "FROM ",
  "ONBUILD ",
  "RUN ",
  "COPY ",
  "ARG ",
  "EOF\n",
  "# ",
  "\\ \\\n",
];

const lines = fc.array(fc.constantFrom(...LINES), { maxLength: 12 }).map((list) => list.join("\n"));
const edit = fc.record({
  at: fc.nat(400),
  remove: fc.nat(6),
  insert: fc.oneof(
    fc.constantFrom(...PIECES),
    fc.constantFrom(...LINES),
    fc.string({ maxLength: 4 }),
  ),
});
const dockerfiles = fc
  .tuple(fc.boolean(), lines, fc.array(edit, { maxLength: 8 }))
  .map(([headed, body, edits]) =>
    edits.reduce(
      (text, { at, remove, insert }) => {
        const start = text.length === 0 ? 0 : at % text.length;
        return text.slice(0, start) + insert + text.slice(start + remove);
      },
      headed ? `FROM scratch AS first\n${body}` : body,
    ),
  );

/** Undefined when it is refused as it should be. */
function attempt<T>(read: () => T): T | undefined {
  try {
    return read();
  } catch (error) {
    if (!(error instanceof DockerfileError)) throw error;
    expect(error.diagnostics.length).toBeGreaterThan(0);
    for (const { span } of error.diagnostics) {
      expect(span.start).toBeGreaterThanOrEqual(0);
      expect(span.end).toBeGreaterThanOrEqual(span.start);
      expect(span.end).toBeLessThanOrEqual(span.file.text.length);
    }
    return undefined;
  }
}

const SCOPE: Scope = {
  escape: "\\",
  get: (name) => (name === "A" ? "a/b.c" : name === "E" ? "" : undefined),
};

function wordsOf(value: unknown): Word[] {
  if (typeof value !== "object" || value === null) return [];
  const isWord = Object.keys(value).length === 2 && "text" in value && "span" in value;
  if (isWord) return [value as Word];
  return Object.entries(value).flatMap(([key, part]) => (key === "span" ? [] : wordsOf(part)));
}

function use(dockerfile: Dockerfile): void {
  const platform = { os: "linux", architecture: "amd64" };
  const options = { buildArgs: new Map(), buildPlatform: platform, targetPlatform: platform };
  const plan = attempt(() => planStages(dockerfile, options));
  const instructions: Instruction[] = dockerfile.stages.flatMap((stage) => [...stage.instructions]);
  for (const word of wordsOf([
    ...(plan?.all ?? []).map(({ stage }) => stage.from),
    ...instructions,
  ])) {
    attempt(() => expandWord(word, SCOPE));
  }
  for (const instruction of instructions) {
    if (instruction.kind !== "RUN") continue;
    runScript(instruction);
    for (const mount of instruction.mounts) attempt(() => expandMount(mount, SCOPE));
  }
}

test("whatever a file holds, it is read, or refused with places in it, in no time", () => {
  fc.assert(
    fc.property(dockerfiles, (text) => {
      const before = process.cpuUsage();
      const parsed = attempt(() => parseDockerfile({ path: "Dockerfile", text }));
      if (parsed !== undefined) use(parsed);
      expect(process.cpuUsage(before).user).toBeLessThan(PATIENCE);
    }),
    { numRuns: RUNS },
  );
});

test("what can be read, is printed so that it reads the same", () => {
  let read = 0;
  fc.assert(
    fc.property(dockerfiles, (text) => {
      const first = attempt(() => parseDockerfile({ path: "Dockerfile", text }));
      if (first === undefined) return;
      read += 1;
      const printed = printDockerfile(first);
      expect(meaning(parseDockerfile({ path: "Dockerfile", text: printed }))).toEqual(
        meaning(first),
      );
    }),
    { numRuns: RUNS },
  );
  // About one in eighteen is; what is drawn differs from run to run.
  expect(read).toBeGreaterThan(RUNS / 50);
});

import { describe, expect, test } from "vitest";
import { formatInstruction, parseTrigger, printDockerfile } from "../../src/dockerfile/index.js";
import { meaning, parse } from "./support.js";

const ALL = String.raw`# syntax=docker/dockerfile:1
# escape=\
# check=skip=JSONArgsRecommended
# V is a version
ARG V=1 W="a b"

FROM --platform=$BUILDPLATFORM golang:$V AS Build
# twice
#  indented
ENV A=1 B='x y' C="\"q\"" \
    # between
    D=e\ f
ENV legacy the rest  of it
LABEL a.b="c d"
WORKDIR /a b/"c"
SHELL ["/bin/bash", "-o", "pipefail", "-c"]
RUN --mount=type=cache,target=/c,id="x y" --mount='type=secret,"id=a,b"' --network=none \
    --device=a=b,required --security=sandbox make \
    -j4
RUN <<-"EOF" cat && 3<<X
	a $b
	EOF
\
X
RUN ["a b", "\"c\"\u0000"]
RUN -- --odd
RUN []
RUN
COPY --from=build --chown="a b":c --chmod=u+x --link --parents=false --exclude='*.md' --exclude="it's \"x\"" a b/ /c
COPY -- --odd /x
COPY ["a b", "[c", "d<<e", "/x"]
COPY [a b /x
COPY << EOF b <<'two' /x
1
EOF
2
two
ADD --keep-git-dir --checksum=sha256:$S --unpack=FALSE https://x/y.git#z /
ADD ["<<EOF", "/x"]
USER a:b
EXPOSE 80 443/udp $P
VOLUME /a /b
VOLUME ["/a b"]
STOPSIGNAL $S
HEALTHCHECK --interval=1h30m --timeout=1.5s --start-period=1001us --retries=3 CMD curl -f x || exit 1
HEALTHCHECK CMD ["a", "b"]
HEALTHCHECK NONE
ONBUILD RUN a \
    b
ONBUILD COPY <<E /d
x
E
CMD []
CMD ["a"
ENTRYPOINT ["a", "b"]
MAINTAINER A <b@c>
FROM build
`;

test("a printed Dockerfile reads to the same instructions", () => {
  const first = parse(ALL);
  const printed = printDockerfile(first);
  expect(meaning(parse(printed))).toEqual(meaning(first));
  expect(printDockerfile(parse(printed))).toBe(printed);
});

test("also one whose escape is the backtick", () => {
  const first = parse(
    "# escape=`\nFROM x\nRUN dir C:\\ `\n  D:\\\nCOPY --chown=a`'b`` C:\\ D:\\\nWORKDIR C:\\\nENV a=`\"",
  );
  const printed = printDockerfile(first);
  expect(meaning(parse(printed))).toEqual(meaning(first));
  expect(printed).toContain("# escape=`\n");
});

describe("what could be read as something else", () => {
  test.each([
    ["a comment that looks like a directive", "# a\n# escape=`\nFROM x\nRUN a\\b"],
    ["an escape at the very end", "FROM x\nRUN a \\ \\\n\n"],
    [
      "a line longer than a line may be",
      `FROM x\nRUN a${" # b \\\\ é".repeat(3000)} \\\n${"c d".repeat(20_000)}`,
    ],
    [
      "a name with << in it",
      'FROM x\nCOPY ["a", "<<E", "b"]\nCOPY ["it\'s", "<<E", "b"]\nCOPY a<<b c',
    ],
    ["a port that ends with a no-break space", "FROM x\nEXPOSE 8\u00a0 $P 1"],
    ["a name that ends with an escape", 'FROM x\nLABEL \\  d" e=f\nENV a\\ b c=d'],
    ["a heredoc behind an escaped blank", "FROM x\nCOPY \\  <<E \\  /x\nE"],
    ["words that are JSON together", 'FROM x\nCOPY ["[\\"a\\",", "\\"b\\"]"]'],
    ["names with blanks of other kinds", 'FROM x\nVOLUME ["/a\\u00a0b", "/c\\u2028d", "/e"]'],
  ])("%s", (_, text) => {
    const first = parse(text);
    expect(meaning(parse(printDockerfile(first)))).toEqual(meaning(first));
  });
});

test("one instruction is printed by itself", () => {
  expect(formatInstruction(parseTrigger("copy   a \\\n b <<E /c\nx\nE", "x"))).toBe(
    "COPY a b <<E /c\nx\nE",
  );
});

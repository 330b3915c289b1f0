import { expect, test } from "vitest";
import { describeUnless } from "../support/tools-suite.js";
import { LACKS, useBench, type Built, type Files } from "./support.js";

const TREE: Files = {
  a: "a",
  "a.log": "",
  "d/a.log": "",
  "d/keep.log": "",
  "d/sub/x": "",
  "d/sub/y": "",
  "e/a": "",
  "node_modules/m/f": "",
  "deep/node_modules/m": "",
};

const all = (built: Built): readonly string[] =>
  [...built.files].flatMap(([path, { type }]) => (type === "dir" ? [] : [path])).sort();

describeUnless(LACKS, "ignore files", () => {
  const bench = useBench();
  const copied = async (patterns: readonly string[]): Promise<readonly string[]> => {
    const files = { ...TREE, ".dockerignore": patterns.join("\n") };
    return all(await bench.build(["FROM scratch", "COPY . /"], { files }));
  };

  test("patterns are anchored at the root, ** goes through directories, the last match wins", async () => {
    expect(
      await copied([
        "\uFEFF# a comment",
        "  /*.log  ",
        "d",
        "!d/sub",
        "d/sub/y",
        "**/node_modules",
        "e/../e/a",
        "Dockerfile",
        ".dockerignore",
        "",
      ]),
    ).toEqual(["a", "d/sub/x"]);
  });

  test("everything out and some in again; what is re-included brings its parents", async () => {
    expect(await copied(["*", "!d/k*.log", "!deep/**"])).toEqual([
      "d/keep.log",
      "deep/node_modules/m",
    ]);
    expect(await copied(["**", "!a", "."])).toEqual(["a"]);
  });

  test("a Dockerfile's own ignore file takes the place of the context's", async () => {
    const files = { ...TREE, ".dockerignore": "*" };
    const built = await bench.build(["FROM scratch", "COPY . /"], {
      files,
      ownIgnoreFile: "d\n**/node_modules\n.dockerignore\n",
    });
    expect(all(built)).toEqual(["a", "a.log", "e/a"]);
  });

  test("what is ignored cannot be named, and the message says by which pattern", async () => {
    const files = { ...TREE, ".dockerignore": "d/*.log\n" };
    const failed = await bench.fails(["FROM scratch", "COPY a d/a.log /x/"], { files });
    expect(failed.message).toContain('"/d/a.log": not found');
    expect(failed.message).toContain("Dockerfile:2");
    expect(failed.error.hint).toContain('"d/*.log"');
    expect(failed.exitCode).toBe(66);
    expect(failed.warnings.join("\n")).toContain("CopyIgnoredFile");
  });

  test("mounts of the context see what COPY sees; stages and images are not touched", async () => {
    const files = { ...TREE, ".dockerignore": "a*\netc\n" };
    await bench.build(
      [
        "FROM busybox AS stage",
        "RUN touch /a",
        "FROM busybox",
        "RUN --mount=target=/c [ ! -e /c/a ] && [ -e /c/d/a.log ]",
        "COPY --from=stage /a /from-stage",
        "COPY --from=stage /etc/passwd /p",
      ],
      { files },
    );
  });

  test("a bad pattern is an error that shows it", async () => {
    const files = { ...TREE, ".dockerignore": "a\n!\n" };
    const failed = await bench.fails(["FROM scratch", "COPY . /"], { files });
    expect(failed.message).toMatch(/!/);
    const bracket = await bench.fails(["FROM scratch", "COPY . /"], {
      files: { ...TREE, ".dockerignore": "[a\n" },
    });
    expect(bracket.message).toContain("[a");
  });
});

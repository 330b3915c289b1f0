import { describe, expect, test } from "vitest";
import type { Copy } from "../../src/dockerfile/types.js";
import { copyHistory, expandCopy } from "../../src/solver/instructions/copy.js";
import type { ExpandedCopy } from "../../src/solver/instructions/copy-items.js";
import { fakeTools, instructionsOf, stateOf } from "./support-tools.js";

const plain = {
  target: "/d",
  place: "/d",
  chown: undefined,
  chmod: undefined,
  link: false,
  exclude: [],
};

describe("the history of COPY and ADD", () => {
  test("shows flags that change files, sources and heredocs", () => {
    const sources = [
      { kind: "path", path: "a b", local: "a b" },
      { kind: "heredoc", name: "EOF", content: "text" },
    ] as const;
    const copy = { ...plain, sources, chown: "1:2", chmod: "u+x", link: true, exclude: ["x"] };
    expect(copyHistory("COPY", copy, true)).toBe(
      "COPY --parents --chown=1:2 --chmod=u+x a b <<EOF /d # buildkit",
    );
  });

  test("heredocs come after all paths, as they are copied", () => {
    const [copy] = instructionsOf(["COPY a <<EOF b /d\nx\nEOF"]);
    const expanded = expandCopy(copy as Copy, stateOf(), fakeTools(copy as Copy).tools);
    expect(copyHistory("COPY", expanded, false)).toBe("COPY a b <<EOF /d # buildkit");
  });

  test("is not made of a mode that there is not", () => {
    const [copy] = instructionsOf(["ENV m=10000", "COPY --chmod=$m a /d"]).slice(-1);
    const state = { ...stateOf(), env: new Map([["m", "10000"]]) };
    expect(() => expandCopy(copy as Copy, state, fakeTools(copy as Copy).tools)).toThrow("chmod");
  });

  test("shows paths of Windows as they are written; they lead to drive C: without its name", () => {
    const windows = stateOf({}, { os: "windows", architecture: "amd64" });
    const expanded = (line: string): ExpandedCopy => {
      const [copy] = instructionsOf([line], "# escape=`\nFROM scratch");
      return expandCopy(copy as Copy, windows, fakeTools(copy as Copy, {}, { escape: "`" }).tools);
    };
    const copy = expanded("COPY c:\\a\\b rel C:\\x\\");
    expect(copyHistory("COPY", copy, false)).toBe("COPY c:\\a\\b rel C:\\x\\ # buildkit");
    expect(copy).toMatchObject({ place: "/x/", sources: [{ local: "/a/b" }, { local: "rel" }] });
    for (const line of ["COPY a d:/x", "COPY d:/a x"]) {
      expect(() => expanded(line), line).toThrow("not on the system drive (C:)");
    }
    expect(() => expanded("COPY a C:")).toThrow('no relative path specified in "C:"');
    const [linux] = instructionsOf(["COPY d:/a d:/x"]);
    const { place } = expandCopy(linux as Copy, stateOf(), fakeTools(linux as Copy).tools);
    expect(place).toBe("d:/x");
  });

  test("has no password of a URL", () => {
    const path = "https://user:hunter2@example.com/f";
    const sources = [{ kind: "path", path, local: path }] as const;
    const history = copyHistory("ADD", { ...plain, sources }, false);
    expect(history).not.toContain("hunter2");
    expect(history).toContain("example.com/f");
  });
});

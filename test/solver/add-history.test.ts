import { describe, expect, test } from "vitest";
import type { Copy } from "../../src/dockerfile/types.js";
import { copyHistory, expandCopy } from "../../src/solver/instructions/copy.js";
import { fakeTools, instructionsOf, stateOf } from "./support-tools.js";

const plain = { target: "/d", chown: undefined, chmod: undefined, link: false, exclude: [] };

describe("the history of COPY and ADD", () => {
  test("shows flags that change files, sources and heredocs", () => {
    const sources = [
      { kind: "path", path: "a b" },
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

  test("has no password of a URL", () => {
    const sources = [{ kind: "path", path: "https://user:hunter2@example.com/f" }] as const;
    const history = copyHistory("ADD", { ...plain, sources }, false);
    expect(history).not.toContain("hunter2");
    expect(history).toContain("example.com/f");
  });
});

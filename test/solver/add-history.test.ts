import { describe, expect, test } from "vitest";
import { copyHistory } from "../../src/solver/instructions/copy.js";

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

  test("has no password of a URL", () => {
    const sources = [{ kind: "path", path: "https://user:hunter2@example.com/f" }] as const;
    const history = copyHistory("ADD", { ...plain, sources }, false);
    expect(history).not.toContain("hunter2");
    expect(history).toContain("example.com/f");
  });
});

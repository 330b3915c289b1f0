import { describe, expect, test } from "vitest";
import { DockerfileError } from "../../src/dockerfile/index.js";
import { TsbuildError } from "../../src/errors.js";
import { LocatedError, locateError, StepFailure } from "../../src/solver/locate-error.js";
import { OutputTail } from "../../src/solver/output-tail.js";
import { instructionsOf } from "./support-tools.js";

const bytes = (text: string): Uint8Array => new TextEncoder().encode(text);

describe("the end of a step's output", () => {
  test("is its last ten lines, without what is blank at the end", () => {
    const tail = new OutputTail();
    for (let line = 1; line <= 15; line++) tail.add(bytes(`line ${line}\r\n`));
    tail.add(bytes("\n\n"));
    const lines = tail.text().split("\n");
    expect(lines).toHaveLength(10);
    expect(lines[0]).toBe("line 6");
    expect(lines.at(-1)).toBe("line 15");
  });

  test("begins with a whole line however much there was, and letters stay whole over chunks", () => {
    const tail = new OutputTail();
    tail.add(bytes(`${"x".repeat(20_000)}\nshort\n`));
    expect(tail.text()).toBe("short");
    const split = new OutputTail();
    const letter = bytes("ä");
    split.add(letter.subarray(0, 1));
    split.add(letter.subarray(1));
    expect(split.text()).toBe("ä");
  });

  test("of a step that said nothing is nothing", () => {
    expect(new OutputTail().text()).toBe("");
  });
});

describe("a failure", () => {
  const [run] = instructionsOf(["RUN false"]);
  const span = run?.span;
  const { signal } = new AbortController();
  if (span === undefined) throw new Error("no instruction");

  test("gets the place, and keeps its code, exit code and hint", () => {
    const cause = new TsbuildError("STORE_FAILED", "tried to keep it: no space", {
      hint: "free some",
    });
    const located = locateError(cause, span, signal);
    expect(located).toBeInstanceOf(LocatedError);
    expect(located).toMatchObject({ code: "STORE_FAILED", hint: "free some", exitCode: 74, cause });
    expect(String(located)).toMatch(/Dockerfile:2:1: tried to keep it: no space\n 2 \| RUN false/);
  });

  test("of a command shows its last lines, and ends with its code", () => {
    const located = locateError(new StepFailure("process failed", 9, "a\nb"), span, signal);
    expect(located).toMatchObject({ code: "RUN_FAILED", exitCode: 9 });
    expect(String(located)).toMatch(/last output:\n {3}\| a\n {3}\| b$/);
  });

  test("that has a place already, or came of stopping, is left as it is", () => {
    const located = locateError(new Error("x"), span, signal);
    expect(located).toMatchObject({ code: "INTERNAL" });
    expect(locateError(located, span, signal)).toBe(located);
    const own = new DockerfileError([{ severity: "error", code: "c", message: "m", span }]);
    expect(locateError(own, span, signal)).toBe(own);
    const stopped = new Error("stopped");
    expect(locateError(stopped, span, AbortSignal.abort())).toBe(stopped);
  });
});

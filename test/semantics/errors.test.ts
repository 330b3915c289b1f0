import { expect, test } from "vitest";
import { describeUnless } from "../support/tools-suite.js";
import { LACKS, useBench } from "./support.js";

describeUnless(LACKS, "a Dockerfile that is wrong", () => {
  const bench = useBench();

  test.each<[what: string, lines: readonly string[], line: number | undefined, message: RegExp]>([
    ["nothing but comments", ["# only", ""], undefined, /no instructions|empty/],
    ["only ARG", ["ARG a=1"], undefined, /no stages to build/],
    [
      "an instruction before FROM",
      ["LABEL a=b", "FROM scratch"],
      1,
      /no build stage in current context/,
    ],
    [
      "an unknown instruction",
      ["FROM scratch", "COPPY a b"],
      2,
      /unknown instruction: COPPY \(did you mean COPY\?\)/,
    ],
    [
      "an unknown flag",
      ["FROM scratch", "COPY --form=a a b"],
      2,
      /unknown flag: (--)?form.*\(did you mean (--)?from\?\)/,
    ],
    ["a flag twice", ["FROM scratch", "COPY --chown=1 --chown=2 a b"], 2, /duplicate flag/i],
    ["one argument of COPY", ["FROM scratch", "COPY a"], 2, /COPY requires at least two arguments/],
    ["ENV without a value", ["FROM scratch", "ENV a"], 2, /ENV must have two arguments/],
    ["ENV with a blank name", ["FROM scratch", "ENV =b"], 2, /blank/],
    ["two words for FROM", ["FROM scratch as"], 1, /FROM requires either one or three arguments/],
    ["a bad stage name", ["FROM scratch AS 1a"], 1, /invalid name for build stage/],
    ["a blank base", ["ARG b", "FROM $b"], 2, /should not be blank/],
    ["numbers in JSON", ["FROM busybox", 'CMD ["a", 1]'], 2, /comprised of strings only/],
    ["a SHELL that is no JSON", ["FROM busybox", "SHELL /bin/sh"], 2, /JSON/],
    ["a port out of range", ["FROM scratch", "EXPOSE 70000"], 2, /70000/],
    ["an unknown signal", ["FROM scratch", "STOPSIGNAL SIGNOT"], 2, /SIGNOT/],
    ["a short interval", ["FROM scratch", "HEALTHCHECK --interval=1us CMD x"], 2, /1ms/],
    ["an unknown health check", ["FROM scratch", "HEALTHCHECK MAYBE"], 2, /unknown type|MAYBE/i],
    ["a quote that stays open", ["FROM scratch", "LABEL a='b"], 2, /quote|unexpected end/],
    [
      "an unset variable that is asked for",
      ["FROM scratch", 'LABEL a="${none:?say it}"'],
      2,
      /none: say it/,
    ],
    ["an unknown modifier", ["FROM scratch", "LABEL a=${b:=c}"], 2, /unsupported modifier/],
    ["an empty name", ["FROM scratch", "LABEL a=${}"], 2, /bad substitution/],
    ["an open brace", ["FROM scratch", "LABEL a=${b"], 2, /./],
    ["a bad escape directive", ["# escape=x", "FROM scratch"], 1, /escape/],
    [
      "a directive twice",
      ["# escape=`", "# escape=`", "FROM scratch"],
      2,
      /only one escape parser directive can be used/,
    ],
    ["a bad platform", ["FROM --platform=a/b/c/d scratch", "LABEL a=b"], 1, /a\/b\/c\/d/],
    ["a bad reference", ["FROM a//b", "LABEL a=b"], 1, /a\/\/b/],
    ["a bad owner flag", ["FROM scratch", "COPY --link=maybe a b"], 2, /maybe/],
  ])("%s is told with its line", async (_, lines, line, message) => {
    const failed = await bench.fails(lines, { files: { a: "" } });
    expect(failed.message).toMatch(message);
    if (line !== undefined) expect(failed.message).toMatch(new RegExp(`Dockerfile:${line}[:\\s]`));
    expect(failed.exitCode).toBe(65);
    expect(failed.error.code).toBe("DOCKERFILE_INVALID");
  });

  test("all of what is wrong is said at once, before any command runs", async () => {
    const failed = await bench.fails([
      "FROM busybox AS one",
      "RUN echo ran",
      "LABEL a=${x:?first}",
      "EXPOSE 99999",
      "FROM one",
      "STOPSIGNAL NOPE",
    ]);
    for (const line of [3, 4, 6]) expect(failed.message).toContain(`Dockerfile:${line}:`);
    expect(failed.output).toBe("");
  });

  test("a base that does not exist is named with its line and its registry", async () => {
    const failed = await bench.fails([
      "FROM busybox AS fine",
      "RUN echo ran",
      `FROM ${bench.registry.host}/no/such:image`,
      "COPY --from=fine /x /",
    ]);
    expect(failed.message).toContain("Dockerfile:3");
    expect(failed.message).toContain("no/such");
    expect(failed.exitCode).toBe(75);
    expect(failed.output).toBe("");
  });

  test("a secret in a build argument is in no message", async () => {
    const failed = await bench.fails(
      ["FROM busybox", "ARG TOKEN", "ADD http://user:$TOKEN@127.0.0.1:1/x /"],
      { buildArgs: { TOKEN: "hunter2" } },
    );
    expect(failed.message).toContain("Dockerfile:3");
    expect(failed.message).not.toContain("hunter2");
  });
});

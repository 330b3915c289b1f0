import { expect, test } from "vitest";
import { parseFlags } from "../../src/cli/parse-flags.js";

test("a command of two words is one, and -v of du needs no value", () => {
  expect(parseFlags(["store", "check", "--repair"]).command).toBe("store check");
  const du = parseFlags(["du", "-v"]);
  expect([du.command, du.one.get("verbose")]).toEqual(["du", "true"]);
});

test("a build takes a bound for the store", () => {
  expect(parseFlags(["--keep-storage", "10GB"]).one.get("keep-storage")).toBe("10GB");
});

test.each([
  [["--all"], "--all means nothing to tsbuild build"],
  [["check", "--repair"], "--repair means nothing to tsbuild check"],
  [["doctor", "--dry-run"], "--dry-run means nothing to tsbuild doctor"],
  [["du", "--older-than=1h"], "--older-than means nothing to tsbuild du"],
  [["prune", "--context=."], "--context means nothing to tsbuild prune"],
  [["prune", "--filter=type=x", "--build-arg=A=1"], "--build-arg means nothing to tsbuild prune"],
  [["store", "check", "--all"], "--all means nothing to tsbuild store check"],
  [["store"], "tsbuild store needs a word"],
  [["store", "clean"], "tsbuild store needs a word"],
])("%j is refused, not ignored", (argv, message) => {
  expect(() => parseFlags(argv)).toThrow(message);
});

test("help is given whatever else is there", () => {
  expect(parseFlags(["prune", "--context=.", "--help"]).one.get("help")).toBe("true");
});

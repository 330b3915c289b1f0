import { describe, expect, test } from "vitest";
import { BadPatternError, hasWildcards, matchPath } from "../../src/internal/path-match.js";
import { compilePatterns } from "../../src/internal/path-patterns.js";

describe("matchPath is Go's filepath.Match", () => {
  test.each<[pattern: string, name: string, matches: boolean]>([
    ["abc", "abc", true],
    ["*", "abc", true],
    ["*c", "abc", true],
    ["a*", "a", true],
    ["a*", "abc", true],
    ["a*", "ab/c", false],
    ["a*/b", "abc/b", true],
    ["a*/b", "a/c/b", false],
    ["a*b*c*d*e*/f", "axbxcxdxe/f", true],
    ["a*b*c*d*e*/f", "axbxcxdxexxx/f", true],
    ["a*b*c*d*e*/f", "axbxcxdxe/xxx/f", false],
    ["a*b*c*d*e*/f", "axbxcxdxexxx/fff", false],
    ["a*b?c*x", "abxbbxdbxebxczzx", true],
    ["a*b?c*x", "abxbbxdbxebxczzy", false],
    ["ab[c]", "abc", true],
    ["ab[b-d]", "abc", true],
    ["ab[e-g]", "abc", false],
    ["ab[^c]", "abc", false],
    ["ab[^b-d]", "abc", false],
    ["ab[^e-g]", "abc", true],
    ["a\\*b", "a*b", true],
    ["a\\*b", "ab", false],
    ["a?b", "a☺b", true],
    ["a?b", "a😀b", true],
    ["a[^a]b", "a☺b", true],
    ["a???b", "a☺b", false],
    ["a[^a][^a][^a]b", "a☺b", false],
    ["[a-ζ]*", "α", true],
    ["*[a-ζ]", "A", false],
    ["a?b", "a/b", false],
    ["a*b", "a/b", false],
    ["[\\]a]", "]", true],
    ["[\\-]", "-", true],
    ["[x\\-]", "x", true],
    ["[x\\-]", "-", true],
    ["[x\\-]", "z", false],
    ["[\\-x]", "x", true],
    ["[\\-x]", "a", false],
    ["*x", "xxx", true],
    ["[[]xyz]", "[xyz]", true],
    ["**", "a", true],
    ["**", "a/b", false],
    ["**/x", "a/x", true],
    ["**/x", "x", false],
    [".*", "a", false],
    ["*", ".hidden", true],
    ["", "", true],
    ["", "a", false],
  ])("%j and %j: %j", (pattern, name, matches) => {
    expect(matchPath(pattern, name)).toBe(matches);
  });

  test.each(["[]a]", "[-]", "[x-]", "[-x]", "[", "[^", "[^bc", "a[", "a\\", "[a-b-c]", "[\\"])(
    "%j is malformed, whatever the name",
    (pattern) => {
      expect(() => matchPath(pattern, "a")).toThrow(BadPatternError);
      expect(() => matchPath(pattern, "zzz")).toThrow(BadPatternError);
    },
  );

  test("a pattern of many stars answers at once", () => {
    expect(matchPath("*a*a*a*a*a*a*a*a*b", "a".repeat(250))).toBe(false);
  });

  test("a quoted wildcard is none", () => {
    expect(hasWildcards("a\\*b")).toBe(false);
    expect(hasWildcards("a\\\\*b")).toBe(true);
    expect(hasWildcards("a[b")).toBe(true);
    expect(hasWildcards("plain")).toBe(false);
  });
});

const ignored = (patterns: readonly string[], path: string): boolean =>
  compilePatterns(patterns).decidedBy(path)?.matched ?? false;

describe("patterns match as moby's patternmatcher", () => {
  test.each<[pattern: string, path: string, matches: boolean]>([
    ["**", "file", true],
    ["**/", "file", true],
    ["**", "dir/file", true],
    ["**/**", "dir/file", true],
    ["dir/**", "dir/file", true],
    ["dir/**", "dir/dir2/file", true],
    ["**/dir", "dir", true],
    ["**/dir", "dir/file", true],
    ["**/dir2/*", "dir/dir2/file", true],
    ["**/dir2/**", "dir/dir2/dir3/file", true],
    ["**file", "file", true],
    ["**file", "dir/file", true],
    ["**file", "dir/otherfile", true],
    ["**/file", "dir/dir/file", true],
    ["**/file", "dir/otherfile", false],
    ["**/file*", "dir/dir/file.txt", true],
    ["**/file*txt", "dir/dir/file.txt", true],
    ["**/file*.txt*", "dir/dir/file.txt", true],
    ["**/**/*.txt", "dir/dir/file.txt", true],
    ["**/**/*.txt2", "dir/dir/file.txt", false],
    ["**/*.txt", "file.txt", true],
    ["a**/*.txt", "a/file.txt", true],
    ["a**/*.txt", "a/dir/dir/file.txt", true],
    ["a/*.txt", "a/dir/file.txt", false],
    ["a/*.txt**", "a/file.txt", true],
    ["a/**/z", "a/z", true],
    ["a/**/z", "a/q/r/z", true],
    ["a/**/z", "a/q/zz", false],
    ["a[b-d]e", "ae", false],
    ["a[b-d]e", "ace", true],
    ["a[^b-d]e", "aze", true],
    [".*", ".foo", true],
    [".*", "foo", false],
    ["abc.def", "abcZdef", false],
    ["abc?def", "abcZdef", true],
    ["a\\\\", "a\\", true],
    ["a\\*b", "a*b", true],
    ["a\\*b", "axb", false],
    ["abc/**", "abc", false],
    ["abc/**", "abc/def/ghi", true],
    ["**/.foo", ".foo", true],
    ["**/.foo", "bar.foo", false],
    ["a(b)c/def", "a(b)c/def", true],
    ["a.|)$(}+{bc", "a.|)$(}+{bc", true],
    ["dist/*.whl", "dist/p-2.4.0+g08-py3.whl", true],
    ["node_modules", "node_modules/a/b/c", true],
    ["node_modules", "src/node_modules", false],
    ["./x", "x", true],
    ["x/", "x/y", true],
    ["x/../y", "y", true],
    [".", "x", false],
    ["/x", "x", false],
    // A class behind the first star is a regular expression's.
    ["test*[_-]*.py", "test_a-b.py", true],
    ["test*[_-]*.py", "testab.py", false],
    ["a*[-_]", "ab-", true],
    ["a*[]x]", "ab]", true],
    ["a*[^]x]", "ab]", false],
    ["a*[a-c-e]", "a-", true],
    ["\u0085x\u0085", "x", true],
    ["\ufeffx", "\ufeffx", true],
  ])("%j and %j: %j", (pattern, path, matches) => {
    expect(ignored([pattern], path)).toBe(matches);
  });

  test.each<[patterns: string[], path: string, matches: boolean]>([
    [["docs", "!docs/README.md"], "docs/README.md", false],
    [["docs", "!docs/README.md"], "docs/other.md", true],
    [["!fileutils.go", "*.go"], "fileutils.go", true],
    [["*.go", "!fileutils.go"], "fileutils.go", false],
    [["**", "!util/docker/web"], "util/docker/web/foo", false],
    [["**", "!util/docker/web", "util/docker/web/foo"], "util/docker/web/foo", true],
    [["*.md", "!README*.md", "README-secret.md"], "README-secret.md", true],
    [["*.md", "!README*.md", "README-secret.md"], "README.md", false],
    [["subdir", "!*/sub1*"], "subdir/sub1.txt", false],
    [["subdir", "!*/sub1*"], "subdir/sub2.txt", true],
    [["a", "!a/b", "a/b/c"], "a/b/c/d", true],
    [["a", "!a/b", "a/b/c"], "a/b/x", false],
    [[], "a", false],
    [["", "  "], "a", false],
  ])("%j and %j: %j", (patterns, path, matches) => {
    expect(ignored(patterns, path)).toBe(matches);
  });

  test("the pattern that decided is named", () => {
    const patterns = compilePatterns(["a", "!a/b", "a/b/*.log"]);
    expect(patterns.decidedBy("a/x")).toEqual({ matched: true, pattern: "a" });
    expect(patterns.decidedBy("a/b/x")).toEqual({ matched: false, pattern: "!a/b" });
    expect(patterns.decidedBy("a/b/x.log")).toEqual({ matched: true, pattern: "a/b/*.log" });
    expect(patterns.decidedBy("z")).toBeUndefined();
  });

  test("a lone ! and a malformed class are refused", () => {
    expect(() => compilePatterns(["!"])).toThrow(/illegal exclusion pattern/);
    expect(() => compilePatterns(["a", "[b"])).toThrow(/syntax error in pattern/);
  });

  test.each<[pattern: string, directory: string, may: boolean]>([
    ["!a/b/c", "a", true],
    ["!a/b/c", "a/b", true],
    ["!a/b/c", "x", false],
    ["!a/b/c", "a/x", false],
    ["!a/b", "a/b", true],
    ["!*/b/*", "q", true],
    ["!*/b/*", "q/r", false],
    ["!a/**/z", "a/q/r", true],
    ["!a/**/z", "b", false],
    ["!**/z", "anything/at/all", true],
    ["!a[^b]c", "q", true],
  ])("whether %j may reach below %j: %j", (pattern, directory, may) => {
    expect(compilePatterns(["**", pattern]).mayReachBelow(directory, true)).toBe(may);
  });
});

import { describe, expect, test } from "vitest";
import { parseGitRef, showGitUrl } from "../../src/context/index.js";
import type { GitRef } from "../../src/context/index.js";
import { TsbuildError } from "../../src/errors.js";

const DOCKER = "https://github.com/docker/docker.git";
const BUILDKIT = "https://github.com/moby/buildkit.git";
const SCP = "git@github.com:moby/buildkit.git";

/** What BuildKit's git_ref_test.go and git_url_test.go know; `undefined`: no git repository. */
const READ: readonly (readonly [string, GitRef | undefined])[] = [
  ["https://example.com/", undefined],
  ["https://example.com/foo", undefined],
  ["https://example.com/foo.git", { remote: "https://example.com/foo.git" }],
  [
    "https://example.com/foo.git#deadbeef",
    { remote: "https://example.com/foo.git", ref: "deadbeef" },
  ],
  [
    "https://example.com/foo.git#release/1.2",
    { remote: "https://example.com/foo.git", ref: "release/1.2" },
  ],
  ["https://example.com/foo.git/", undefined],
  ["https://example.com/foo.git.bar", undefined],
  ["git://example.com/foo", { remote: "git://example.com/foo" }],
  ["custom.xyz/moby/buildkit.git", undefined],
  ["https://github.com/moby/buildkit", undefined],
  [BUILDKIT, { remote: BUILDKIT }],
  [
    "https://foo:bar@github.com/moby/buildkit.git",
    { remote: BUILDKIT, credentials: { username: "foo", password: "bar" } },
  ],
  ["git@github.com:moby/buildkit", { remote: "git@github.com:moby/buildkit" }],
  [SCP, { remote: SCP }],
  [
    "git@bitbucket.org:atlassianlabs/atlassian-docker.git",
    { remote: "git@bitbucket.org:atlassianlabs/atlassian-docker.git" },
  ],
  [
    "https://github.com/foo/bar.git#baz/qux:quux/quuz",
    { remote: "https://github.com/foo/bar.git", ref: "baz/qux", subdir: "quux/quuz" },
  ],
  ["http://github.com/docker/docker.git:#branch", undefined],
  [`${DOCKER}#:myfolder`, { remote: DOCKER, subdir: "myfolder" }],
  ["./.git", undefined],
  ["../x.git", undefined],
  [".git", undefined],
  [`${DOCKER}?ref=v1.0.0&subdir=/subdir`, { remote: DOCKER, ref: "v1.0.0", subdir: "subdir" }],
  [`${BUILDKIT}?subdir=/subdir#v1.0.0`, { remote: BUILDKIT, ref: "v1.0.0", subdir: "subdir" }],
  [`${BUILDKIT}?tag=v1.0.0`, { remote: BUILDKIT, ref: "refs/tags/v1.0.0" }],
  [`${BUILDKIT}?tag=refs/tags/v1.0.0`, { remote: BUILDKIT, ref: "refs/tags/v1.0.0" }],
  [`${BUILDKIT}?branch=v1.0`, { remote: BUILDKIT, ref: "refs/heads/v1.0" }],
  [`${SCP}?subdir=/subdir#v1.0.0`, { remote: SCP, ref: "v1.0.0", subdir: "subdir" }],
  [`${BUILDKIT}?mtime=commit`, { remote: BUILDKIT, mtime: "commit" }],
  [`${BUILDKIT}?mtime=checkout`, { remote: BUILDKIT, mtime: "checkout" }],
  [
    `${BUILDKIT}?fetch-by-commit=true&checksum=deadbeef#refs/heads/branch`,
    { remote: BUILDKIT, ref: "refs/heads/branch", checksum: "deadbeef", fetchByCommit: true },
  ],
  [
    `${BUILDKIT}?fetch-by-commit&checksum=deadbeef`,
    { remote: BUILDKIT, checksum: "deadbeef", fetchByCommit: true },
  ],
  [`${BUILDKIT}?fetch-by-commit=false`, { remote: BUILDKIT, fetchByCommit: false }],
  // git_url_test.go
  ["http://github.com/moby/buildkit#v1.0.0:subdir", undefined],
  ["ssh://git@github.com/moby/buildkit.git", { remote: "ssh://git@github.com/moby/buildkit.git" }],
  [
    "ssh://git@github.com:22/moby/buildkit.git",
    { remote: "ssh://git@github.com:22/moby/buildkit.git" },
  ],
  [`${SCP}#v1.0.0`, { remote: SCP, ref: "v1.0.0" }],
  [`${SCP}#v1.0.0:hack`, { remote: SCP, ref: "v1.0.0", subdir: "hack" }],
  [
    "nonstandarduser@example.com:/srv/repos/weird/project.git",
    { remote: "nonstandarduser@example.com:/srv/repos/weird/project.git" },
  ],
  [
    "ssh://root@subdomain.example.hostname:2222/root/my/really/weird/path/foo.git",
    { remote: "ssh://root@subdomain.example.hostname:2222/root/my/really/weird/path/foo.git" },
  ],
  ["git://host.xz:1234/path/to/repo.git", { remote: "git://host.xz:1234/path/to/repo.git" }],
  [
    "ssh://someuser@192.168.0.123:456/~/repo-in-my-home-dir.git",
    { remote: "ssh://someuser@192.168.0.123:456/~/repo-in-my-home-dir.git" },
  ],
  ["httpx://github.com/moby/buildkit.git", undefined],
  ["HTTP://github.com/moby/buildkit.git", { remote: "http://github.com/moby/buildkit.git" }],
  ["file:///srv/repo.git", undefined],
  ["ext::sh -c touch% /tmp/x", undefined],
  // Beyond both
  ["http://[::1]:8080/a.git", { remote: "http://[::1]:8080/a.git" }],
  [
    `${BUILDKIT}?keep-git-dir&submodules=0`,
    { remote: BUILDKIT, keepGitDir: true, submodules: false },
  ],
  [
    `${BUILDKIT}?submodules=&keep-git-dir=F`,
    { remote: BUILDKIT, keepGitDir: false, submodules: true },
  ],
  [`${BUILDKIT}?commit=0123abc`, { remote: BUILDKIT, checksum: "0123abc" }],
  [`${BUILDKIT}?subdir=a%2Fb+c`, { remote: BUILDKIT, subdir: "a/b c" }],
  [`${BUILDKIT}#main:../../../etc`, { remote: BUILDKIT, ref: "main", subdir: "etc" }],
  [`${BUILDKIT}?ref=v1#v1`, { remote: BUILDKIT, ref: "v1" }],
  ["https://h/a b/é.git", { remote: "https://h/a%20b/%C3%A9.git" }],
  ["https://h/a(b)%20c.git", { remote: "https://h/a(b)%20c.git" }],
  ["https://h/a(b) %20c.git", { remote: "https://h/a%28b%29%20%20c.git" }],
  ["ssh://h/x y", { remote: "ssh://h/x%20y" }],
  ["ssh://me:secret@host/x", { remote: "ssh://me@host/x" }],
  ["src", undefined],
  ["https://exa mple.com/a.git", undefined],
];

const REFUSED: readonly (readonly [string, string])[] = [
  [`${BUILDKIT}?ref=v1.0.0#v1.2.3`, 'ref conflicts: "v1.2.3" vs "v1.0.0"'],
  [`${BUILDKIT}?ref=v1.0.0&tag=v1.2.3`, 'ref conflicts: "v1.0.0" vs "refs/tags/v1.2.3"'],
  [`${BUILDKIT}?tag=v1.0.0&branch=v1.0`, "branch conflicts with tag"],
  [`${BUILDKIT}?branch=a#b`, 'ref conflicts: "b" vs "refs/heads/a"'],
  [`${BUILDKIT}?mtime=invalid`, 'invalid mtime value: "invalid" (must be "checkout" or "commit")'],
  [`${BUILDKIT}?fetch-by-commit=invalid`, 'invalid fetch-by-commit value: "invalid"'],
  [`${BUILDKIT}?keep-git-dir=yes`, 'invalid keep-git-dir value: "yes"'],
  [`${BUILDKIT}?submodules=2`, 'invalid submodules value: "2"'],
  [`${BUILDKIT}?invalid=123`, 'unexpected query "invalid"'],
  [`${SCP}?invalid=123`, 'unexpected query "invalid"'],
  [`${BUILDKIT}?ref=a&ref=a`, 'query "ref" has multiple values'],
  [`${BUILDKIT}?tag`, 'query "tag" has no value'],
  [`${BUILDKIT}?subdir=a#:b`, 'subdir conflicts: "b" vs "a"'],
  [`${BUILDKIT}?commit=abc1234&checksum=abc1235`, 'checksum conflicts: "abc1235" vs "abc1234"'],
  [`${BUILDKIT}?ref=%zz`, "malformed escape"],
  [`${BUILDKIT}#--upload-pack=touch`, 'invalid git ref "--upload-pack=touch"'],
  [`${BUILDKIT}?ref=-x`, 'invalid git ref "-x"'],
  [`${BUILDKIT}#a%0Ab`, "invalid git ref"],
  [`${BUILDKIT}#refs/heads/*`, "invalid git ref"],
  [`${BUILDKIT}?ref=a:b`, "invalid git ref"],
  [`${BUILDKIT}#main:--x`, 'invalid subdir "--x"'],
  ["-oProxyCommand@host:x", "may not begin with a dash"],
  ["git@-oProxyCommand:x", "may not begin with a dash"],
  ["git@host:-x", "may not begin with a dash"],
  ["ssh://-oProxyCommand=x@host/y", "may not begin with a dash"],
  ["ssh://git@-host/y", "may not begin with a dash"],
  ["git://-host/y", "may not begin with a dash"],
];

describe("a source of ADD as a git repository", () => {
  test.each(READ)("%s is read as BuildKit reads it", (text, expected) => {
    expect(parseGitRef(text)).toEqual(expected);
  });

  test.each(REFUSED)("%s is refused: %s", (text, why) => {
    const call = (): unknown => parseGitRef(text);
    expect(call).toThrow(TsbuildError);
    expect(call).toThrow(why);
    expect(call).toThrow(expect.objectContaining({ code: "DOCKERFILE_INVALID" }));
  });

  test("github.com/owner/name is a repository for contexts alone", () => {
    expect(parseGitRef("github.com/moby/buildkit")).toBeUndefined();
    const shorthand = true;
    const remote = "https://github.com/moby/buildkit";
    expect(parseGitRef("github.com/moby/buildkit", { shorthand })).toEqual({ remote });
    expect(parseGitRef("github.com/moby/buildkit#master", { shorthand })).toEqual({
      remote,
      ref: "master",
    });
    expect(parseGitRef("github.com/moby/buildkit?tag=v1.0.0", { shorthand })).toEqual({
      remote,
      ref: "refs/tags/v1.0.0",
    });
    expect(parseGitRef("github.com/a/b?x=1", { shorthand: false })).toBeUndefined();
  });

  test("credentials are decoded, and in no message", () => {
    const url = "https://user:p%40ss@host/x.git";
    expect(parseGitRef(url)?.credentials).toEqual({ username: "user", password: "p@ss" });
    expect(showGitUrl(`${url}?ref=x#y`)).toBe("https://host/x.git");
    expect(() => parseGitRef(`${url}?bad=1`)).toThrow(
      'tried to read the git URL https://host/x.git: unexpected query "bad"',
    );
    expect(() => parseGitRef("ssh://me:secret@host/x?bad=1")).not.toThrow(/secret/);
  });
});

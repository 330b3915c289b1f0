import fc from "fast-check";
import { expect, test } from "vitest";
import {
  familiarName,
  formatReference,
  formatRepository,
  parseReference,
  withDefaultTag,
} from "../../src/oci/reference.js";

const DIGEST = `sha256:${"0123456789abcdef".repeat(4)}`;
const HUB = "index.docker.io";

test.each([
  ["busybox", HUB, "library/busybox", undefined, undefined],
  ["busybox:1.36", HUB, "library/busybox", "1.36", undefined],
  ["user/app", HUB, "user/app", undefined, undefined],
  ["docker.io/busybox", HUB, "library/busybox", undefined, undefined],
  ["docker.io/user/app:v1", HUB, "user/app", "v1", undefined],
  ["index.docker.io/library/busybox", HUB, "library/busybox", undefined, undefined],
  ["registry-1.docker.io/library/busybox", HUB, "library/busybox", undefined, undefined],
  [`busybox@${DIGEST}`, HUB, "library/busybox", undefined, DIGEST],
  [`ghcr.io/o/app:v1@${DIGEST}`, "ghcr.io", "o/app", "v1", DIGEST],
  ["localhost/app", "localhost", "app", undefined, undefined],
  ["localhost:5000/app", "localhost:5000", "app", undefined, undefined],
  ["localhost:5000", HUB, "library/localhost", "5000", undefined],
  ["registry:5000/a/b/c:t", "registry:5000", "a/b/c", "t", undefined],
  ["10.0.0.1/app", "10.0.0.1", "app", undefined, undefined],
  ["[::1]:5000/app:t", "[::1]:5000", "app", "t", undefined],
  ["[fd00::1]/app", "[fd00::1]", "app", undefined, undefined],
  ["Registry/app", "Registry", "app", undefined, undefined],
  ["a__b/c-d.e---f", HUB, "a__b/c-d.e---f", undefined, undefined],
  ["app:UPPER_tag-1.0", HUB, "library/app", "UPPER_tag-1.0", undefined],
])("%s is understood as docker understands it", (text, registry, repository, tag, digest) => {
  expect(parseReference(text)).toEqual({
    registry,
    repository,
    ...(tag === undefined ? {} : { tag }),
    ...(digest === undefined ? {} : { digest }),
  });
});

test.each([
  ["", "it is empty"],
  ["Busybox", "repository name must be lowercase"],
  ["docker.io/User/app", "repository name must be lowercase"],
  ["a".repeat(64), "64 hexadecimal digits"],
  ["app:", "is not a tag"],
  ["app:-x", "is not a tag"],
  [`app:${"t".repeat(129)}`, "is not a tag"],
  ["app:a b", "is not a tag"],
  ["a//b", '"" is not a repository name'],
  ["/app", '"" is not a repository name'],
  ["a/", '"" is not a repository name'],
  ["a___b", "is not a repository name"],
  ["-a", "is not a repository name"],
  ["a..b/c/d", '"a..b" is not a registry host'],
  ["-a.b/c", '"-a.b" is not a registry host'],
  ["a.b:port/c", '"a.b:port" is not a registry host'],
  ["../../etc", "is not a registry host"],
  ["host.name/../x", '".." is not a repository name'],
  ["ex ample.com/app", "is not a registry host"],
  ["app@sha256:12", '"sha256:12" is not a sha256 digest'],
  ["app@sha512:12", "is not a sha256 digest"],
  [`@${DIGEST}`, '"" is not a repository name'],
  ["https://example.com/app", "is not a"],
  ["app\n", "is not a repository name"],
  ["a/".repeat(150) + "b", "longer than 255 characters"],
])("%j is refused with what is wrong", (text, why) => {
  let message = "";
  try {
    parseReference(text);
  } catch (error) {
    expect(error).toMatchObject({ code: "USAGE" });
    message = (error as Error).message;
  }
  expect(message).toContain("invalid reference format");
  expect(message).toContain(why);
});

test.each([
  ["busybox", "busybox"],
  ["docker.io/library/busybox:1", "busybox:1"],
  ["docker.io/user/app", "user/app"],
  ["docker.io/library/a/b", "library/a/b"],
  ["docker.io/a.b/c", "docker.io/a.b/c"],
  ["docker.io/localhost/c", "docker.io/localhost/c"],
  ["ghcr.io/o/app:v1", "ghcr.io/o/app:v1"],
  [`busybox@${DIGEST}`, `busybox@${DIGEST}`],
])("%s is shown as %s", (text, shown) => {
  const reference = parseReference(text);
  expect(familiarName(reference)).toBe(shown);
  expect(parseReference(shown)).toEqual(reference);
});

test("the default tag is added only where neither tag nor digest is", () => {
  expect(withDefaultTag(parseReference("a")).tag).toBe("latest");
  expect(withDefaultTag(parseReference("a:b")).tag).toBe("b");
  expect(withDefaultTag(parseReference(`a@${DIGEST}`)).tag).toBeUndefined();
  expect(formatRepository(parseReference("a:b"))).toBe("index.docker.io/library/a");
});

const component = fc.stringMatching(/^[a-z0-9]{1,8}((\.|_|__|-{1,3})[a-z0-9]{1,4}){0,2}$/);
const reference = fc
  .record({
    host: fc.constantFrom("", "docker.io/", "ghcr.io/", "localhost:5000/", "[::1]:80/"),
    path: fc.array(component, { minLength: 1, maxLength: 4 }),
    tag: fc.constantFrom("", ":v1", ":Latest_.-"),
    digest: fc.constantFrom("", `@${DIGEST}`),
  })
  // Without a host, a first component with a dot would be one.
  .map(({ host, path, tag, digest }) => [host || "user/", path.join("/"), tag, digest].join(""));

test("what is formatted, in full or familiarly, is read as the same reference", () => {
  fc.assert(
    fc.property(reference, (text) => {
      const parsed = parseReference(text);
      expect(parseReference(formatReference(parsed))).toEqual(parsed);
      expect(parseReference(familiarName(parsed))).toEqual(parsed);
    }),
  );
});

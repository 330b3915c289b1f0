import { expect, test } from "vitest";
import { redirected } from "../../src/internal/http-redirect.js";

const client = { certificateFile: "c", keyFile: "k" };
const request = {
  method: "GET",
  headers: { authorization: "Bearer a", cookie: "c", accept: "x" },
  trust: { client },
  signal: new AbortController().signal,
} as const;

test.each([
  ["http://a.test/x", "http://a.test/y", true],
  ["http://a.test/x", "https://a.test/y", true],
  ["http://a.test:80/x", "https://a.test:443/y", true],
  ["https://a.test/x", "http://a.test/y", false],
  ["http://a.test:81/x", "https://a.test/y", false],
  ["http://a.test/x", "http://a.test:81/y", false],
  ["http://a.test/x", "http://b.test/y", false],
  ["http://a.test/x", "http://sub.a.test/y", false],
])("from %s to %s credentials go along: %s", (from, to, kept) => {
  const next = redirected(request, new URL(from), new URL(to));
  expect(next.headers).toEqual(kept ? request.headers : { accept: "x" });
  expect(next.trust).toEqual(kept ? { client } : {});
});

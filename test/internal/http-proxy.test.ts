import { describe, expect, test } from "vitest";
import { chooseProxy, proxyAuthorization } from "../../src/internal/proxy.js";

const PROXY = "http://proxy.example:3128";
const choose = (url: string, noProxy = ""): string | undefined =>
  chooseProxy({ httpProxy: PROXY, httpsProxy: "https://secure.example", noProxy })(new URL(url))
    ?.href;

test("each scheme has its own proxy", () => {
  expect(choose("http://a.example")).toBe(`${PROXY}/`);
  expect(choose("https://a.example")).toBe("https://secure.example/");
  expect(chooseProxy({ httpProxy: PROXY })(new URL("https://a.example"))).toBeUndefined();
  expect(chooseProxy({ httpProxy: "  " })(new URL("http://a.example"))).toBeUndefined();
});

test("a proxy without a scheme is an HTTP one, and one of an unknown kind is an error without its text", () => {
  const bare = chooseProxy({ httpProxy: "proxy:8080" })(new URL("http://a.example"));
  expect(bare?.href).toBe("http://proxy:8080/");
  expect(() => chooseProxy({ httpsProxy: "ftp://u:hunter2@x" })).toThrow(
    'HTTPS_PROXY names a proxy of kind "ftp:"; known are http, https, socks5',
  );
  expect(() => chooseProxy({ httpProxy: "http://u:hunter2@:x:" })).toThrow(
    /^the value of HTTP_PROXY/,
  );
});

test("loopback never goes through a proxy", () => {
  for (const host of ["localhost:5000", "127.0.0.1", "127.9.9.9", "[::1]:5000"]) {
    expect(choose(`http://${host}/`)).toBeUndefined();
  }
});

describe("NO_PROXY", () => {
  test.each([
    ["*", "anything.example", true],
    ["example.com", "example.com", true],
    ["example.com", "sub.example.com", true],
    ["example.com", "badexample.com", false],
    [".example.com", "sub.example.com", true],
    [".example.com", "example.com", false],
    ["*.example.com", "sub.example.com", true],
    ["EXAMPLE.com", "Example.COM", true],
    ["example.com:5000", "example.com:5000", true],
    ["example.com:5000", "example.com", false],
    ["example.com:80", "example.com", true],
    ["a.example, ,b.example", "b.example", true],
    ["10.0.0.0/8", "10.2.3.4", true],
    ["10.0.0.0/8", "11.2.3.4", false],
    ["10.0.0.0/8", "10.example", false],
    ["10.0.0.5", "10.0.0.5", true],
    ["10.0.0.5:5000", "10.0.0.5:5000", true],
    ["10.0.0.5:5000", "10.0.0.5:6000", false],
    ["2001:db8::/32", "[2001:db8::1]", true],
    ["2001:db8::1", "[2001:db8::1]:5000", true],
    ["[2001:db8::1]:5000", "[2001:db8::1]:5000", true],
    ["2001:db8::/32", "10.0.0.1", false],
    ["", "example.com", false],
  ])("%j and %s: direct is %s", (noProxy, host, isDirect) => {
    expect(choose(`http://${host}/`, noProxy) === undefined).toBe(isDirect);
  });
});

test("a proxy's user and password become its header, percent signs decoded", () => {
  const header = proxyAuthorization(new URL("http://joe:p%40ss@proxy"));
  expect(header).toBe(`Basic ${Buffer.from("joe:p@ss").toString("base64")}`);
  expect(proxyAuthorization(new URL("http://joe@proxy"))).toBe(
    `Basic ${Buffer.from("joe:").toString("base64")}`,
  );
  expect(proxyAuthorization(new URL(PROXY))).toBeUndefined();
});

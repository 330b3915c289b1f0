import { describe, expect, test } from "vitest";
import {
  isSecretName,
  isStageName,
  parseDuration,
  parsePorts,
  parseStopSignal,
} from "../../src/dockerfile/index.js";

describe("ports", () => {
  test.each<[string, string[]]>([
    ["80", ["80/tcp"]],
    ["80/tcp", ["80/tcp"]],
    ["53/UDP", ["53/udp"]],
    ["80/", ["80/tcp"]],
    ["0", ["0/tcp"]],
    ["080", ["80/tcp"]],
    ["65535/sctp", ["65535/sctp"]],
    ["8000-8002/udp", ["8000/udp", "8001/udp", "8002/udp"]],
    ["80-80", ["80/tcp"]],
    ["1234:80", ["80/tcp"]],
    ["1234-1235:80-81", ["80/tcp", "81/tcp"]],
    ["1234-1240:80", ["80/tcp"]],
    ["0.0.0.0:1234-1235:3333-3334/tcp", ["3333/tcp", "3334/tcp"]],
    ["127.0.0.1::80", ["80/tcp"]],
    ["[2001:4860:0:2001::68]::333", ["333/tcp"]],
    ["[::1]:80:80", ["80/tcp"]],
    ["2001:4860:0:2001::68::333", ["333/tcp"]],
    ["::1:80:80", ["80/tcp"]],
    ["::::80", ["80/tcp"]],
  ])("%s is %j", (text, expected) => expect(parsePorts([text])).toEqual(expected));

  test.each([
    ["", 'invalid port: "": no port specified'],
    ["/tcp", 'invalid port: "/tcp": no port specified'],
    ["0.0.0.0:1234-1235:/tcp", 'invalid port: "0.0.0.0:1234-1235:/tcp": no port specified'],
    ["80/icmp", 'invalid port: "80/icmp": invalid proto: icmp'],
    ["70000", "invalid containerPort: 70000"],
    ["-1", "invalid containerPort: -1"],
    ["90-80", "invalid containerPort: 90-80"],
    ["80-", "invalid containerPort: 80-"],
    ["1-2-3", "invalid containerPort: 1-2-3"],
    ["1e3", "invalid containerPort: 1e3"],
    ["asdf", "invalid containerPort: asdf"],
    ["asdf:80", "invalid hostPort: asdf"],
    ["1-3:80-81", "invalid ranges specified for container and host Ports: 80-81 and 1-3"],
    ["localhost:80:80", "invalid IP address: localhost"],
    ["fe80::1%eth0:80:80", "invalid IP address: fe80::1%eth0"],
  ])("%j is refused", (text, message) => {
    expect(() => parsePorts([text])).toThrow(message);
  });
});

describe("durations", () => {
  test.each<[string, bigint]>([
    ["0", 0n],
    ["+5s", 5_000_000_000n],
    ["-1.5h", -5_400_000_000_000n],
    [".5s", 500_000_000n],
    ["1.s", 1_000_000_000n],
    ["1h1m1s1ms1us1ns", 3_661_001_001_001n],
    ["1µs1μs", 2_000n],
    ["0.000000001s", 1n],
    ["0.3333333333333333333h", 1_200_000_000_000n],
    ["5.9999999999999999999999ns", 6n],
    ["9223372036854775807ns", 9_223_372_036_854_775_807n],
  ])("%s", (text, expected) => expect(parseDuration(text)).toBe(expected));

  test.each([
    ["", 'invalid duration ""'],
    ["3", 'missing unit in duration "3"'],
    ["-", 'invalid duration "-"'],
    ["s", 'invalid duration "s"'],
    [".", 'invalid duration "."'],
    ["1.5", 'missing unit in duration "1.5"'],
    ["1 s", 'unknown unit " s" in duration "1 s"'],
    ["1d", 'unknown unit "d" in duration "1d"'],
    ["1toString", 'unknown unit "toString" in duration "1toString"'],
    ["9223372036854775808ns", "invalid duration"],
    ["9".repeat(10_000) + "h", "invalid duration"],
  ])("%s is refused", (text, message) => expect(() => parseDuration(text)).toThrow(message));
});

test.each(["SIGTERM", "sigterm", "KILL", "9", "SIGRTMIN+3", "RTMAX-14", "SIGRTMIN", "100", "-9"])(
  "%s is a stop signal, kept as written",
  (text) => expect(parseStopSignal(text)).toBe(text),
);

test.each(["", "0", "-0", "SIGTREM", "FOO", "RTMIN+16", "TERM "])(
  "%j is no stop signal",
  (text) => {
    expect(() => parseStopSignal(text)).toThrow(`invalid signal: ${text}`);
  },
);

test("a stage's name begins with a letter", () => {
  expect(["a", "build-1.x_y"].every(isStageName)).toBe(true);
  expect(["", "1a", "-a", "A", "a b", "a/b"].some(isStageName)).toBe(false);
});

test("names that speak of secrets are known", () => {
  const secret = [
    "TOKEN",
    "GITHUB_TOKEN",
    "api_key",
    "DB_PASSWORD",
    "auth",
    "secret_message",
    "APIKEY_X",
  ];
  const plain = [
    "TOKENS",
    "KEYBOARD",
    "PUBLIC_KEY",
    "KEY_FILE",
    "TOKEN_VERSION",
    "AUTHOR",
    "PASSWORDLESS",
  ];
  expect(secret.filter((name) => !isSecretName(name))).toEqual([]);
  expect(plain.filter(isSecretName)).toEqual([]);
});

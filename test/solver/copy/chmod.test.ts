import { expect, test } from "vitest";
import { applyChmod, parseChmod } from "../../../src/solver/copy/chmod.js";

test.each<[text: string, before: number, isDirectory: boolean, after: number]>([
  ["755", 0o600, false, 0o755],
  ["0", 0o777, false, 0],
  ["07777", 0, false, 0o7777],
  ["go-w", 0o666, false, 0o644],
  ["u=rw,g=r,o=r", 0o666, false, 0o644],
  ["a+X", 0o666, false, 0o666],
  ["a+X", 0o124, true, 0o135],
  ["a+X", 0o610, false, 0o711],
  ["+x", 0o644, false, 0o755],
  ["u=rwX,go=rX", 0o700, false, 0o755],
  ["u=rwX,go=rX", 0o600, false, 0o644],
  ["u=rwX,go=rX", 0o700, true, 0o755],
  ["g=u", 0o640, false, 0o660],
  ["o=g", 0o750, false, 0o755],
  ["go=u-w", 0o700, false, 0o755],
  ["u+s", 0o755, false, 0o4755],
  ["g+s", 0o755, false, 0o2755],
  ["+s", 0o755, false, 0o6755],
  ["o+s", 0o755, false, 0o755],
  ["+t", 0o755, true, 0o1755],
  ["o+t", 0o755, true, 0o755],
  ["u=rwx", 0o4711, false, 0o711],
  ["go=", 0o777, false, 0o700],
  ["=r", 0o777, false, 0o444],
  ["u=rw,go=", 0o644, false, 0o600],
  ["a-x", 0o777, false, 0o666],
  ["a-X", 0o777, false, 0o666],
  ["u-x,a+X", 0o755, false, 0o755],
  ["u+rw-x", 0o500, false, 0o600],
  ["g+u", 0o701, false, 0o771],
])("%s of %o is right", (text, before, isDirectory, after) => {
  expect(applyChmod(parseChmod(text), before, isDirectory).toString(8)).toBe(after.toString(8));
});

test.each(["10000", "789", "8", "0x1", "abc", "u", "u+q", "u=rw,", ",", "+x,,+r", "u=rw go=r"])(
  "%j is refused",
  (text) => {
    expect(() => parseChmod(text)).toThrow(`invalid chmod parameter: '${text}'`);
  },
);

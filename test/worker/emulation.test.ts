/** Programs of other architectures: known by their header, tried out by programs of a few bytes, run by an emulator. */
import { chmodSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, test } from "vitest";
import { hostPlatform } from "../../src/oci/platform.js";
import {
  architectureOf,
  emulatorName,
  PROBE_CODE,
  probeProgram,
  registration,
} from "../../src/worker/emulation/machines.js";
import { findTool, run, tempDir } from "../support/tools.js";

const ARCHITECTURES = [
  "amd64",
  "386",
  "arm64",
  "arm",
  "riscv64",
  "s390x",
  "ppc64le",
  "loong64",
  "mips64le",
  "mips64",
];

describe.each(ARCHITECTURES)("%s", (architecture) => {
  const program = probeProgram(architecture) ?? Buffer.alloc(0);
  const emulator = findTool(`${emulatorName(architecture)}-static`);
  const isOwn = architecture === hostPlatform().architecture;

  test("is known by a program's first bytes", () => {
    expect(architectureOf(program)).toBe(architecture);
    expect(architectureOf(program.subarray(0, 19))).toBeUndefined();
  });

  test("is registered by what those bytes have in common", () => {
    const line = registration(architecture, "/usr/bin/emulator", true) ?? "";
    const [, name, kind, offset, magic = "", mask = "", path, flags] = line.split(":");
    expect([name, kind, offset, path, flags]).toEqual([
      `tsbuild-${architecture}`,
      "M",
      "",
      "/usr/bin/emulator",
      "POCF",
    ]);
    const bytes = (text: string) =>
      text
        .split("\\x")
        .slice(1)
        .map((each) => parseInt(each, 16));
    const matches = (head: Buffer) =>
      bytes(magic).every((byte, at) => {
        const under = bytes(mask)[at] ?? 0;
        return ((head[at] ?? 0) & under) === (byte & under);
      });
    expect(matches(program)).toBe(true);
    // A program that can lie anywhere, and one of another system's convention.
    const big = program[5] === 2;
    const anywhere = Buffer.from(program);
    anywhere[big ? 17 : 16] = 3;
    anywhere[7] = 3;
    expect(matches(anywhere)).toBe(true);
    const object = Buffer.from(program);
    object[big ? 17 : 16] = 1;
    expect(matches(object)).toBe(false);
    const others = ARCHITECTURES.filter((other) => other !== architecture);
    for (const other of others) expect(matches(probeProgram(other) ?? program)).toBe(false);
  });

  test.skipIf(emulator === undefined && !isOwn)(
    "is tried out by a program that a machine of it runs (skipped where there is no emulator)",
    async () => {
      await using dir = await tempDir();
      const file = join(dir.path, "probe");
      writeFileSync(file, program);
      chmodSync(file, 0o755);
      const [command = file, ...args] = isOwn ? [file] : [emulator ?? "", file];
      expect((await run(command, args)).code).toBe(PROBE_CODE);
    },
  );
});

test("other files are of no architecture", () => {
  expect(architectureOf(Buffer.from("#!/bin/sh\necho a script\n"))).toBeUndefined();
  expect(architectureOf(Buffer.alloc(0))).toBeUndefined();
  expect(architectureOf(Buffer.alloc(64))).toBeUndefined();
  expect(emulatorName("wasm")).toBeUndefined();
  expect(probeProgram("wasm")).toBeUndefined();
  expect(registration("wasm", "/x", true)).toBeUndefined();
});

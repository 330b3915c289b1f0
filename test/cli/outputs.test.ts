import { describe, expect, test } from "vitest";
import { outputs } from "../../src/cli/outputs.js";
import { buildOptions } from "../../src/cli/build-options.js";
import { parseFlags } from "../../src/cli/parse-flags.js";

describe("--output is spelled as buildx spells it", () => {
  test.each([
    ["out", { type: "local", dest: "out" }],
    ["-", { type: "tar", dest: "/dev/stdout" }],
    ["type=local,dest=out", { type: "local", dest: "out" }],
    ["type=tar,dest=-", { type: "tar", dest: "/dev/stdout" }],
    ["type=tar,dest=a=b.tar", { type: "tar", dest: "a=b.tar" }],
    ["dest=o.tar,type=oci", { type: "oci", dest: "o.tar", tar: true }],
    ["type=oci,tar=false,dest=o", { type: "oci", dest: "o", tar: false }],
    ['type=docker,"dest=a,b"', { type: "docker", dest: "a,b" }],
    ['type=docker,"dest=a""b"', { type: "docker", dest: 'a"b' }],
    ["type=image,name=a/b:1", { type: "image", names: ["a/b:1"], push: false }],
    ['type=image,"name=a,b",push=true', { type: "image", names: ["a", "b"], push: true }],
    ["type=registry", { type: "image", names: [], push: true }],
    ["type=registry,name=a", { type: "image", names: ["a"], push: true }],
  ])("%s", (text, expected) => {
    expect(outputs([text])).toEqual([expected]);
  });

  test.each([
    ["", "it is empty"],
    ["type=squashfs,dest=x", 'unknown type "squashfs"'],
    ["dest=x", "it has no type"],
    ["type=local", "it has no dest"],
    ["type=docker", "it has no dest"],
    ["type=local,dest=-", "a directory cannot be written to a pipe"],
    ["type=oci,tar=false,dest=-", "a directory cannot be written to a pipe"],
    ["type=oci,tar=perhaps,dest=x", 'tar is true or false, not "perhaps"'],
    ["type=tar,dest=x,name=y", 'type tar has no field "name"'],
    ["type=tar,dest=x,dest=y", "dest is given twice"],
    ["type=tar,x", '"x" is not name=value'],
    ['type=tar,"dest=x', "its quotes do not match"],
  ])("%j is refused", (text, why) => {
    expect(() => outputs([text])).toThrow(
      expect.objectContaining({ message: `--output "${text}": ${why}`, exitCode: 64 }),
    );
  });

  test("a field that is a flag here is refused with the flag's name", () => {
    expect(() => outputs(["type=image,name=a,oci-mediatypes=false"])).toThrow(
      expect.objectContaining({ hint: "use --image-format" }),
    );
    expect(() => outputs(["type=image,name=a,annotation.x=y"])).toThrow(
      expect.objectContaining({ hint: "use --annotation" }),
    );
  });

  test("standard output takes one of them", () => {
    expect(() => outputs(["-", "type=oci,dest=-"])).toThrow("standard output takes one --output");
  });

  test("-o may stand in one word with its value, and be repeated", () => {
    const { outputs: both } = buildOptions(parseFlags(["-oout", "-o", "-"]), {});
    expect(both).toEqual([
      { type: "local", dest: "out" },
      { type: "tar", dest: "/dev/stdout" },
    ]);
  });
});

describe("the first word may say what to do", () => {
  test.each([
    [["build", "-c", "x"], "build"],
    [["check", "-c", "x"], "check"],
    [["-c", "x"], "build"],
  ] as const)("%j", (argv, command) => {
    const flags = parseFlags(argv);
    expect(flags.command).toBe(command);
    expect(flags.one.get("context")).toBe("x");
  });

  test("only as the first one", () => {
    expect(() => parseFlags(["-c", "x", "check"])).toThrow('unexpected argument "check"');
    expect(parseFlags(["--target", "check"]).command).toBe("build");
  });

  test("--format is for check alone", () => {
    expect(parseFlags(["check", "--format=json"]).one.get("format")).toBe("json");
    expect(() => parseFlags(["--format=json"])).toThrow(
      "--format belongs to tsbuild check and doctor",
    );
    expect(() => parseFlags(["check", "--format=xml"])).toThrow('--format cannot be "xml"');
  });
});

test("--annotation keeps what stands before the name, and equals signs in the value", () => {
  const { annotations } = buildOptions(
    parseFlags(["--annotation=a=b=c", "--annotation", "index:d="]),
    {},
  );
  expect(annotations).toEqual({ a: "b=c", "index:d": "" });
  expect(() => buildOptions(parseFlags(["--annotation=a"]), {})).toThrow("is not name=value");
});

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
    ["type=registry,name=a,push=false", { type: "image", names: ["a"], push: false }],
    [
      "type=image,push-by-digest=true,name=a,push=true",
      { type: "image", names: ["a"], push: true, byDigest: true },
    ],
    ["type=docker,dest=d,tar=true,name=a:1", { type: "docker", dest: "d", names: ["a:1"] }],
    [
      'type=oci,dest=o,"name=a:1, b:2",compression=zstd,annotation.A=b',
      { type: "oci", dest: "o", tar: true, names: ["a:1", "b:2"] },
    ],
    ["type=local,dest=o,platform-split=0", { type: "local", dest: "o", platformSplit: false }],
    ["type=tar,dest=o,platform-split=1", { type: "tar", dest: "o", platformSplit: true }],
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
    ["type=docker,dest=x,tar=false", "docker load reads no directory"],
    ["type=image,push-by-digest=true,push=true", "push-by-digest needs a name"],
    ['type=image,"name=a,,b"', "one of its names is empty"],
    ["type=local,dest=x,compression=zstd", 'type local has no field "compression"'],
    ["type=oci,dest=x,annotation-layer", '"annotation-layer" is not name=value'],
    ["type=oci,dest=x,annotation=y", 'type oci has no field "annotation"'],
    ["type=oci,dest=x,push=true", 'type oci has no field "push"'],
    ["type=image,name=a,__proto__=b", 'type image has no field "__proto__"'],
    ["type=constructor,dest=x", 'unknown type "constructor"'],
    ['type=tar,"dest=x', "its quotes do not match"],
  ])("%j is refused", (text, why) => {
    expect(() => outputs([text])).toThrow(
      expect.objectContaining({ message: `--output "${text}": ${why}`, exitCode: 64 }),
    );
  });

  test("a field that something else says is refused with its name", () => {
    expect(() => outputs(["type=image,name=a,registry.insecure=true"])).toThrow(
      expect.objectContaining({ hint: "use --insecure-registry=HOST" }),
    );
    expect(() => outputs(["type=docker,dest=x,push=true"])).toThrow(
      expect.objectContaining({ hint: expect.stringContaining("type=registry") }),
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

describe("what an output says of the image", () => {
  const read = (...argv: readonly string[]): ReturnType<typeof buildOptions> =>
    buildOptions(parseFlags(argv), {});

  test("is the build's, as if flags had said it", () => {
    const fields =
      "compression=zstd,compression-level=11,oci-mediatypes=true,force-compression=1,rewrite-timestamp=true";
    expect(read(`-otype=oci,dest=x,${fields}`)).toMatchObject({
      compression: "zstd",
      compressionLevel: 11,
      imageFormat: "oci",
      forceCompression: true,
      rewriteTimestamp: true,
    });
    expect(read("-otype=docker,dest=x,compression=uncompressed,oci-mediatypes=0")).toMatchObject({
      compression: "none",
      imageFormat: "docker",
    });
    expect(read("-otype=oci,dest=x")).not.toHaveProperty("compression");
  });

  test("an annotation's carrier and platform are spelled as --annotation spells them", () => {
    const { annotations } = read(
      "--annotation=index:a=0",
      "-otype=image,name=x,annotation.org.Example/a=1,annotation[linux/amd64].b=2",
      '-otype=oci,dest=x,annotation-index.c=3,"annotation-manifest-descriptor[linux/arm64].d=4,5"',
      "-otype=oci,dest=y,annotation.index:e=6,Annotation-Index-Descriptor.f=7,annotation-index.c=3",
    );
    expect(annotations).toEqual({
      "index:a": "0",
      "org.Example/a": "1",
      "manifest[linux/amd64]:b": "2",
      "index:c": "3",
      "manifest-descriptor[linux/arm64]:d": "4,5",
      "manifest:index:e": "6",
      "index-descriptor:f": "7",
    });
  });

  test.each([
    [["-otype=oci,dest=x,compression=lz4"], 'unknown compression "lz4"'],
    [["-otype=oci,dest=x,compression=estargz"], 'unknown compression "estargz"'],
    [["-otype=oci,dest=x,compression-level=fast"], 'is a number, not "fast"'],
    [["-otype=oci,dest=x,compression-level=10"], "compression-level 10 is out of range"],
    [["-otype=oci,dest=x,force-compression=maybe"], 'is true or false, not "maybe"'],
    [
      ["--compression=gzip", "-otype=oci,dest=x,compression=zstd"],
      '--compression and --output "type=oci,dest=x,compression=zstd" differ in compression',
    ],
    [
      ["-otype=oci,dest=x,oci-mediatypes=1", "-otype=oci,dest=y,oci-mediatypes=0"],
      "differ in image-format",
    ],
    [
      ["--annotation=a=1", "-otype=oci,dest=x,annotation.a=2"],
      "annotation a has another value already",
    ],
  ])("%j is refused", (argv, why) => {
    expect(() => read(...argv)).toThrow(why);
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
      "--format belongs to tsbuild check, doctor, explain, du, prune and store check",
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

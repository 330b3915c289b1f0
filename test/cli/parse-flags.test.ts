import { describe, expect, test } from "vitest";
import { buildOptions } from "../../src/cli/build-options.js";
import { FLAGS, UNSUPPORTED, WITHOUT_MEANING } from "../../src/cli/flags.js";
import { idleGitKeys } from "../../src/cli/git-context.js";
import { helpText } from "../../src/cli/help.js";
import { parseFlags } from "../../src/cli/parse-flags.js";

describe("the grammar of flags is pflag's", () => {
  test.each([
    [["--dockerfile=D"], "dockerfile", "D"],
    [["--dockerfile", "D"], "dockerfile", "D"],
    [["-fD"], "dockerfile", "D"],
    [["-f", "D"], "dockerfile", "D"],
    [["-f=D"], "dockerfile", "D"],
    [["--no-push"], "no-push", "true"],
    [["--no-push=false"], "no-push", "false"],
    [["--no-push=T"], "no-push", "true"],
    [["--platform=linux/arm64"], "custom-platform", "linux/arm64"],
    [["--customPlatform=linux/arm64"], "custom-platform", "linux/arm64"],
    [["--tarPath=x"], "tar-path", "x"],
  ] as const)("%j", (argv, name, value) => {
    expect(parseFlags(argv).one.get(name)).toBe(value);
  });

  test("a list keeps its order, and commas are no separators", () => {
    const flags = parseFlags(["-d", "a/b:1,2", "--destination=c"]);
    expect(flags.many.get("destination")).toEqual(["a/b:1,2", "c"]);
  });
});

describe("a wrong flag says what is wrong", () => {
  test.each([
    [["--destinaton=x"], 'unknown flag "--destinaton"', "did you mean --destination?"],
    [["--frobnicate"], 'unknown flag "--frobnicate"', "tsbuild --help lists the flags"],
    [["-x"], 'unknown flag "-x"', "tsbuild --help lists the flags"],
    [
      ["frobnicate"],
      'unexpected argument "frobnicate"',
      "everything but a first word (build, check, doctor, explain, du, prune, store check) is given by flags: --context, --dockerfile",
    ],
    [["--target"], "--target needs a value", "tsbuild --help lists the flags"],
    [
      ["--no-push=maybe"],
      '--no-push is true or false, not "maybe"',
      "tsbuild --help lists the flags",
    ],
    [["--compression=lzma"], '--compression cannot be "lzma"', "expected one of gzip, zstd"],
    [
      ["--compression-level=high"],
      '--compression-level needs a whole number, not "high"',
      "tsbuild --help lists the flags",
    ],
  ])("%j", (argv, message, hint) => {
    expect(() => parseFlags(argv)).toThrow(
      expect.objectContaining({ message, hint, exitCode: 64 }),
    );
  });

  test.each([...UNSUPPORTED.keys()])("--%s is refused by name", (name) => {
    expect(() => parseFlags([`--${name}=x`])).toThrow(`--${name} is not supported`);
  });

  test("no flag is both supported and refused", () => {
    const ours = FLAGS.flatMap((spec) => [spec.name, ...("aliases" in spec ? spec.aliases : [])]);
    const others = [...UNSUPPORTED.keys(), ...WITHOUT_MEANING.keys()];
    expect(ours.filter((name) => others.includes(name))).toEqual([]);
  });
});

test("Kaniko's flags that mean nothing here are accepted and said", () => {
  const flags = parseFlags(["--snapshot-mode", "redo", "--use-new-run", "--no-push"]);
  expect(flags.ignored).toEqual([
    "--snapshot-mode makes no difference: changes are found exactly in every mode",
    "--use-new-run makes no difference: changes are found exactly in every mode",
  ]);
  expect(flags.one.get("no-push")).toBe("true");
});

test("the help names every flag", () => {
  const text = helpText();
  for (const { name } of FLAGS) expect(text).toContain(`--${name}`);
});

describe("options from flags and environment", () => {
  const options = (
    argv: string[],
    environment: Record<string, string> = {},
  ): ReturnType<typeof buildOptions> => buildOptions(parseFlags(argv), environment);

  test("a build-arg without a value takes the environment's, and is left out without one", () => {
    const { buildArgs } = options(
      ["--build-arg=A", "--build-arg=B", "--build-arg=C=x=y", "--build-arg=D="],
      { A: "1" },
    );
    expect(buildArgs).toEqual({ A: "1", C: "x=y", D: "" });
  });

  test("KANIKO_NO_PUSH wins over the flag", () => {
    expect(options(["--no-push"], { KANIKO_NO_PUSH: "false" }).push).toBe(true);
    expect(options([], { KANIKO_NO_PUSH: "1" }).push).toBe(false);
  });

  test("mirrors are maps of Docker Hub, after the maps, and the environment's come last", () => {
    const { registryMap } = options(["--registry-mirror=m1/p", "--registry-map=a=b;c=d"], {
      KANIKO_REGISTRY_MIRROR: "m2",
      KANIKO_REGISTRY_MAP: "e=f",
    });
    expect(registryMap).toEqual([
      "a=b",
      "c=d",
      "e=f",
      "index.docker.io=m1/p",
      "index.docker.io=m2",
    ]);
  });

  test("certificates are for the registry that is named before them", () => {
    const read = options([
      "--registry-certificate=a:5000=/x=1.pem",
      "--registry-certificate=b=/y.pem",
      "--registry-certificate=a:5000=/z.pem",
      "--registry-client-cert=a:5000=/c.pem,/k.pem",
      "--skip-tls-verify-pull",
      "--skip-default-registry-fallback",
    ]);
    expect(read).toMatchObject({
      registryCertificates: { "a:5000": ["/x=1.pem", "/z.pem"], b: ["/y.pem"] },
      registryClientCertificates: {
        "a:5000": { certificateFile: "/c.pem", keyFile: "/k.pem" },
      },
      skipTlsVerify: false,
      skipTlsVerifyPull: true,
      skipDefaultRegistryFallback: true,
    });
    for (const wrong of ["a", "=x", "a="]) {
      expect(() => options([`--registry-certificate=${wrong}`])).toThrow(
        "names no registry and file",
      );
    }
    for (const wrong of ["a=x", "a=x,", "a=,y", "a=x,y,z"]) {
      expect(() => options([`--registry-client-cert=${wrong}`])).toThrow("names no two files");
    }
  });

  test("--git is Kaniko's, a key each or several", () => {
    expect(options([])).not.toHaveProperty("git");
    const given = ["--git=branch=a,b,depth=1", "--git", "recurse-submodules=false"];
    expect(options([...given, "--git=insecure-skip-tls=true"]).git).toEqual({
      branch: "a,b",
      recurseSubmodules: false,
      insecureSkipTls: true,
    });
    expect(options(["--git=branch=,single-branch=true"]).git).toEqual({});
    expect(idleGitKeys(["branch=x", "depth=1", "single-branch=1"])).toEqual([
      "--git single-branch makes no difference: nothing but the commit itself is fetched",
      "--git depth makes no difference: nothing but the commit itself is fetched",
    ]);
    expect(() => options(["--git=tag=v1"])).toThrow('--git has no key "tag"');
    expect(() => options(["--git=branch"])).toThrow('--git has no key "branch"');
    expect(() => options(["--git=depth=all"])).toThrow("depth is a whole number");
    expect(() => options(["--git=single-branch=maybe"])).toThrow("single-branch is true or false");
  });

  test("credential helpers are named one by one, or switched off", () => {
    expect(options([])).not.toHaveProperty("credentialHelpers");
    const given = ["--credential-helpers=env", "--credential-helpers", "ecr"];
    expect(options(given).credentialHelpers).toEqual(["env", "ecr"]);
    expect(options(["--credential-helpers="]).credentialHelpers).toEqual([]);
    expect(() => options(["--credential-helpers=aws"])).toThrow('cannot be "aws"');
  });

  test("the further tries of pushes and pulls are numbers", () => {
    const given = ["--push-retry=3", "--image-download-retry", "2", "--image-fs-extract-retry=1"];
    expect(options(given)).toMatchObject({
      pushRetry: 3,
      imageDownloadRetry: 2,
      imageFsExtractRetry: 1,
    });
    expect(() => options(["--push-retry=often"])).toThrow("needs a whole number");
  });

  test("the context is Kaniko's default, or as it is given", () => {
    expect(options([]).context).toBe("/workspace/");
    expect(options([])).not.toHaveProperty("stdin");
    const given = options(["-c", "dir://src", "--context-sub-path=app"]);
    expect(given).toMatchObject({ context: "dir://src", contextSubPath: "app" });
  });

  test("a compression level of -1 is the default", () => {
    expect(options(["--compression-level=-1"])).not.toHaveProperty("compressionLevel");
    expect(options(["--compression-level=9"]).compressionLevel).toBe(9);
  });
});

describe("--ssh", () => {
  const read = (given: readonly string[], environment = {}) =>
    buildOptions(parseFlags(given.map((one) => `--ssh=${one}`)), environment).sshAgents;

  test.each([
    [["default"], { default: ["/run/agent"] }],
    [["git="], { git: ["/run/agent"] }],
    [["default=a.pem"], { default: ["a.pem"] }],
    [["default=a.pem,b.pem", "x=/sock"], { default: ["a.pem", "b.pem"], x: ["/sock"] }],
    [["x=/sock,raw=true"], { x: { raw: "/sock" } }],
    [["x=/sock,raw=false"], { x: ["/sock"] }],
  ] as const)("%j", (given, expected) => {
    expect(read(given, { SSH_AUTH_SOCK: "/run/agent" })).toEqual(expected);
  });

  test("says what is wrong with it", () => {
    expect(() => read(["default"])).toThrow("no agent is running here");
    expect(() => read(["a=x", "a=y"])).toThrow("there is another agent for a");
    expect(() => read(["a=x,y,raw=true"])).toThrow("raw takes one socket");
    expect(() => read(["a=x,raw=yes"])).toThrow('raw is true or false, not "yes"');
  });
});

describe("options of steps", () => {
  const read = (...flags: readonly string[]) => buildOptions(parseFlags(flags), {});

  test.each([
    ["64m", 64 * 1024 ** 2],
    ["1G", 1024 ** 3],
    ["1.5k", 1536],
    ["2gib", 2 * 1024 ** 3],
    ["100b", 100],
    ["4096", 4096],
  ])("--shm-size=%s", (text, bytes) => {
    expect(read(`--shm-size=${text}`).shmSize).toBe(bytes);
  });

  test.each(["", "0", "x", "-1", "1z", "m"])("--shm-size=%s is refused", (text) => {
    expect(() => read(`--shm-size=${text}`)).toThrow(/--shm-size cannot be/);
  });

  test("--ulimit is Docker's", () => {
    expect(read("--ulimit=nofile=10:20", "--ulimit=core=-1", "--ulimit=nproc=5").ulimits).toEqual([
      { name: "nofile", soft: 10, hard: 20 },
      { name: "core", soft: -1, hard: -1 },
      { name: "nproc", soft: 5, hard: 5 },
    ]);
    for (const wrong of ["nofile", "nofile=", "files=1", "nofile=1:2:3", "as=1", "nofile=a"]) {
      expect(() => read(`--ulimit=${wrong}`), wrong).toThrow(/--ulimit cannot be/);
    }
  });

  test("what needs control groups of a daemon's is refused, with what to do", () => {
    for (const name of ["memory", "cpus", "cgroup-parent", "cpu-quota", "cpuset-cpus"]) {
      expect(() => read(`--${name}=1`)).toThrow(`--${name} is not supported`);
    }
  });

  test("Kaniko's buckets are refused, with what to do", () => {
    expect(() => read("--bucket=b")).toThrow(
      expect.objectContaining({
        message: "--bucket is not supported",
        hint: expect.stringContaining("--context=https://storage.googleapis.com/"),
      }),
    );
  });

  test("rights, hosts and the rest reach the build as they are written", () => {
    const given = ["--allow=network.host", "--allow=device", "--add-host=a:1.2.3.4"];
    expect(read(...given, "--network=none", "--hostname=h", "--cdi-spec-dir=/d")).toMatchObject({
      allow: ["network.host", "device"],
      addHosts: ["a:1.2.3.4"],
      network: "none",
      hostname: "h",
      cdiSpecDirectories: ["/d"],
    });
    expect(() => read("--network=bridge")).toThrow('--network cannot be "bridge"');
  });
});

test("--output's rewrite-timestamp is the image's, whichever output says it", () => {
  const read = (...given: readonly string[]) =>
    buildOptions(parseFlags(given.map((one) => `--output=${one}`)), {}).rewriteTimestamp;
  expect(read("type=oci,dest=a", "type=image,name=b,rewrite-timestamp=true")).toBe(true);
  expect(read("type=docker,dest=a,rewrite-timestamp=false", "dir")).toBe(false);
  expect(() => read("type=oci,dest=a,rewrite-timestamp=yes")).toThrow(/is true or false/);
  expect(() => read("type=local,dest=a,rewrite-timestamp=true")).toThrow(/has no field/);
});

import { mkdir, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { deviceSource } from "../../src/build/devices/device-source.js";
import { stepOptions } from "../../src/build/step-options.js";
import { tempDir, type TempDir } from "../support/tools.js";

const read = (options: Omit<Parameters<typeof stepOptions>[0], "context">) =>
  stepOptions({ context: ".", ...options });

describe("hosts", () => {
  test.each([
    ["a:1.2.3.4", "a", "1.2.3.4"],
    ["a=1.2.3.4", "a", "1.2.3.4"],
    ["a.b-c:::1", "a.b-c", "::1"],
    ["a=[fe80::1]", "a", "fe80::1"],
  ])("%s", (text, name, address) => {
    expect(read({ addHosts: [text] }).extraHosts).toEqual([{ name, address }]);
  });

  test.each([
    "a",
    "a:",
    ":1.2.3.4",
    "a:b",
    "a b:1.2.3.4",
    "a:1.2.3.4\n5.6.7.8 x",
    "a:host-gateway",
  ])("%j is refused", (text) => {
    expect(() => read({ addHosts: [text] })).toThrow(/cannot add the host/);
  });

  test("a host's own name has no room for another line", () => {
    expect(read({ hostname: "builder.example" }).hostname).toBe("builder.example");
    for (const hostname of ["a b", "a\nb", "", "x".repeat(65)]) {
      expect(() => read({ hostname })).toThrow(/no host's name/);
    }
  });
});

test("limits are whole, and the soft one is not above the hard one", () => {
  const limit = (soft: number, hard: number) =>
    ({ ulimits: [{ name: "nofile", soft, hard }] }) as const;
  expect(read(limit(1, -1)).limits).toEqual(limit(1, -1).ulimits);
  for (const [soft, hard] of [
    [2, 1],
    [-1, 5],
    [1.5, 2],
    [-2, 3],
  ] as const) {
    expect(() => read(limit(soft, hard)), `${soft}:${hard}`).toThrow(/makes no sense/);
  }
});

describe("rights", () => {
  test("each is granted by its name alone", () => {
    const none = read({}).allowed;
    expect(none).toEqual({ networkHost: false, securityInsecure: false, devices: new Map() });
    expect(read({ allow: ["network.host"] }).allowed.networkHost).toBe(true);
    expect(read({ network: "host" }).allowed.networkHost).toBe(true);
    expect(read({ allow: ["security.insecure"] }).allowed.securityInsecure).toBe(true);
    expect(read({ allow: ["device=a/b=c", "device"] }).allowed.devices).toBe("all");
    expect(read({ allow: ["device=a/b=c,alias=x", "device=d/e"] }).allowed.devices).toEqual(
      new Map([
        ["x", "a/b=c"],
        ["d/e", "d/e"],
      ]),
    );
  });

  test.each(["network", "network.host=1", "security.insecure=true", "", "device=a,b=c"])(
    "%j is none",
    (text) => {
      expect(() => read({ allow: [text] })).toThrow(/entitlement/);
    },
  );
});

describe("devices", () => {
  let dir: TempDir;
  let first: string;
  let second: string;
  beforeAll(async () => {
    dir = await tempDir("tsbuild-cdi-");
    first = join(dir.path, "first");
    second = join(dir.path, "second");
    await mkdir(first);
    await mkdir(second);
    const spec = (kind: string, devices: unknown, rest = {}) =>
      JSON.stringify({ cdiVersion: "0.6.0", kind, devices, ...rest });
    const node = (path: string, rest = {}) => ({
      containerEdits: { deviceNodes: [{ path }], ...rest },
    });
    await writeFile(
      join(first, "v.json"),
      spec(
        "vendor.com/net",
        [
          { name: "one", ...node("/dev/one", { env: ["ONE=1=1"], additionalGids: [44, 0] }) },
          { name: "two", ...node("/dev/two") },
          {
            name: "open",
            annotations: { "org.mobyproject.buildkit.device.autoallow": "true" },
            ...node("/dev/open", { hooks: [{ hookName: "createContainer", path: "/bin/hook" }] }),
          },
        ],
        {
          annotations: { "org.mobyproject.buildkit.device.class": "fast" },
          containerEdits: {
            env: ["COMMON=yes"],
            mounts: [
              { hostPath: "/lib/v", containerPath: "/usr/lib/v", options: ["ro", "rbind"] },
              { hostPath: "tmpfs", containerPath: "/scratch", type: "tmpfs" },
            ],
          },
        },
      ),
    );
    await writeFile(join(first, "a.json"), spec("twice.com/x", [{ name: "d", ...node("/dev/a") }]));
    await writeFile(join(first, "b.json"), spec("twice.com/x", [{ name: "d", ...node("/dev/b") }]));
    await writeFile(join(first, "nvidia.yaml"), "cdiVersion: 0.6.0\nkind: nvidia.com/gpu\n");
    await writeFile(join(first, "bad.json"), "{");
    await writeFile(join(first, "kind.json"), spec("nothing", []));
    const over = {
      containerEdits: { deviceNodes: [{ path: "/dev/two", hostPath: "/dev/other" }] },
    };
    await writeFile(join(second, "v.json"), spec("vendor.com/net", [{ name: "two", ...over }]));
  });
  afterAll(() => dir[Symbol.asyncDispose]());

  const ask = (
    names: readonly string[],
    granted: readonly string[] | "all" = "all",
    required = true,
  ) =>
    deviceSource(
      [first, second, join(dir.path, "absent")],
      granted === "all" ? "all" : new Map(granted.map((name) => [name, name])),
    )(names.map((name) => ({ name, required })));

  test("bring nodes, mounts, variables and groups; what is common to several comes once", async () => {
    expect(await ask(["vendor.com/net=one", "vendor.com/net=one", "vendor.com/net=open"])).toEqual({
      env: [
        ["COMMON", "yes"],
        ["ONE", "1=1"],
      ],
      mounts: [
        { source: "/lib/v", target: "/usr/lib/v", readonly: true },
        { source: "/dev/one", target: "/dev/one", readonly: false },
        { source: "/dev/open", target: "/dev/open", readonly: false },
      ],
      groups: [44],
      notices: [
        'device "vendor.com/net=one": the mount /scratch is left out',
        'device "vendor.com/net=open": the mount /scratch is left out',
        'device "vendor.com/net=open": the hook /bin/hook is left out',
      ],
    });
  });

  test("a later directory's device takes the place of an earlier one's", async () => {
    const { mounts } = await ask(["vendor.com/net=two"]);
    expect(mounts).toEqual([{ source: "/dev/other", target: "/dev/two", readonly: false }]);
  });

  test.each([
    ["vendor.com/net", ["/dev/one"]],
    ["vendor.com/net=*", ["/dev/one", "/dev/open", "/dev/other"]],
    ["fast", ["/dev/one", "/dev/open"]],
  ])(
    "%s: a kind is its first device, * all of them, another word a class",
    async (name, sources) => {
      const { mounts } = await ask([name]);
      expect(mounts.map(({ source }) => source).filter((path) => path.startsWith("/dev"))).toEqual(
        sources,
      );
    },
  );

  test("one that is not registered is an error when required, else a notice", async () => {
    for (const name of ["vendor.com/net=nine", "nvidia.com/gpu=all", "twice.com/x=d", "slow"]) {
      const error = await ask([name]).catch((caught: unknown) => caught);
      expect(error).toMatchObject({ message: `required device "${name}" is not registered` });
      expect((error as { hint: string }).hint).toMatch(
        /nvidia.yaml: only JSON is read.*d is there twice/,
      );
      const { notices } = await ask([name], "all", false);
      expect(notices).toEqual([`optional device "${name}" is not registered`]);
    }
  });

  test("one that is registered needs a grant, unless it says that it needs none", async () => {
    await expect(ask(["vendor.com/net=one"], [])).rejects.toThrow(
      'device "vendor.com/net=one" is requested by the build but not allowed',
    );
    await expect(ask(["fast"], ["vendor.com/net=two"])).rejects.toThrow(/not allowed/);
    expect((await ask(["vendor.com/net=one"], ["fast"])).mounts).toHaveLength(2);
    expect((await ask(["vendor.com/net=open"], [])).mounts).toHaveLength(2);
    const alias = deviceSource([first], new Map([["gpu", "vendor.com/net=one"]]));
    expect((await alias([{ name: "gpu", required: true }])).mounts).toHaveLength(2);
  });
});

import { mkdir, readlink, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { describe, expect, test } from "vitest";
import { useBench } from "./support.js";

const bench = useBench();
/** A capability that Docker's defaults leave out: SYS_ADMIN. */
const SYS_ADMIN = 21;

function has(capability: number, line: string): boolean {
  return ((BigInt(`0x${line.trim()}`) >> BigInt(capability)) & 1n) === 1n;
}

describe("what a RUN asks for beyond its own rights", () => {
  test.each([
    ["--network=host", "network.host is not allowed", "--allow=network.host"],
    ["--security=insecure", "security.insecure is not allowed", "--allow=security.insecure"],
    [
      "--device=vendor.com/x=y,required",
      'required device "vendor.com/x=y" is not registered',
      "CDI",
    ],
  ])("%s: is refused before the first step, at the flag", async (flag, message, hint) => {
    const failed = await bench.fails(["FROM busybox", "RUN echo started", `RUN ${flag} true`], {
      cdiSpecDirectories: [join(bench.path, "none")],
    });
    expect(failed.message).toContain(message);
    expect(failed.message).toMatch(/Dockerfile:3:5/);
    expect(`${failed.error.hint ?? ""} ${failed.message}`).toContain(hint);
    expect(failed.output).toBe("");
  });

  test("what asks for nothing needs no grant", async () => {
    await bench.build(["FROM busybox", "RUN --network=default --security=sandbox true"]);
  });

  test("network.host is the host's network", async () => {
    const built = await bench.build(
      ["FROM busybox", "RUN --network=host readlink /proc/self/ns/net > /net"],
      {
        allow: ["network.host"],
      },
    );
    expect(built.text("net")?.trim()).toBe(await readlink("/proc/self/ns/net"));
  });

  test("security.insecure: every capability, for root and for a user, and nothing hidden", async () => {
    const built = await bench.build(
      [
        "FROM busybox",
        "RUN grep CapEff /proc/self/status | cut -f2 > /boxed; grep -c ' /proc/sys ' /proc/self/mountinfo > /guards || true",
        "RUN --security=insecure grep CapEff /proc/self/status | cut -f2 > /asroot; grep -c ' /proc/sys ' /proc/self/mountinfo > /unguarded || true",
        "RUN --security=insecure mkdir /m && mount -t tmpfs none /m && umount /m && rmdir /m",
        "RUN mkdir -m 777 /out",
        "USER 1000:1000",
        "RUN --security=insecure grep CapEff /proc/self/status | cut -f2 > /out/user; id -u >> /out/user",
        "RUN grep CapEff /proc/self/status | cut -f2 > /out/plain",
      ],
      { allow: ["security.insecure"] },
    );
    expect(has(SYS_ADMIN, built.text("boxed") ?? "")).toBe(false);
    expect(built.text("guards")?.trim()).not.toBe("0");
    expect(has(SYS_ADMIN, built.text("asroot") ?? "")).toBe(true);
    expect(built.text("unguarded")?.trim()).toBe("0");
    const [capabilities = "", id] = (built.text("out/user") ?? "").trim().split("\n");
    expect(has(SYS_ADMIN, capabilities)).toBe(true);
    expect(id).toBe("1000");
    expect(built.text("out/plain")?.trim()).toBe("0000000000000000");
  });

  test("a device: its node, files, variables and groups, for the step alone", async () => {
    const specs = join(bench.path, "cdi");
    await mkdir(specs);
    await writeFile(join(specs, "library"), "of the device");
    await writeFile(
      join(specs, "v.json"),
      JSON.stringify({
        cdiVersion: "0.6.0",
        kind: "vendor.com/zero",
        devices: [
          {
            name: "a",
            containerEdits: {
              env: ["DEVICE=a"],
              deviceNodes: [{ path: "/dev/vendor/zero", hostPath: "/dev/zero" }],
              mounts: [
                {
                  hostPath: join(specs, "library"),
                  containerPath: "/usr/lib/vendor",
                  options: ["ro"],
                },
              ],
              additionalGids: [77],
              hooks: [{ hookName: "createContainer", path: "/bin/hook" }],
            },
          },
        ],
      }),
    );
    const lines = [
      "FROM busybox",
      "RUN --device=vendor.com/zero=a,required head -c 3 /dev/vendor/zero | wc -c > /read && cat /usr/lib/vendor >> /read && echo $DEVICE $(id -G) >> /read",
      'RUN --device=vendor.com/absent=b echo without >> /read && [ ! -e /dev/vendor ] && [ -z "$DEVICE" ]',
    ];
    const built = await bench.build(lines, { cdiSpecDirectories: [specs], allow: ["device"] });
    expect(built.text("read")).toBe("3\nof the devicea 0 77\nwithout\n");
    expect(built.facts("usr/lib/vendor")).toBeUndefined();
    const notices = built.events.flatMap((event) =>
      event.type === "notice" ? [event.message] : [],
    );
    expect(notices.join("\n")).toMatch(/Dockerfile:2: device .*: the hook \/bin\/hook is left out/);
    expect(notices.join("\n")).toMatch(
      /Dockerfile:3: optional device "vendor.com\/absent=b" is not registered/,
    );
    const failed = await bench.fails(lines, { cdiSpecDirectories: [specs] });
    expect(failed.message).toContain(
      'device "vendor.com/zero=a" is requested by the build but not allowed',
    );
  });
});

describe("what is the same for every RUN of a build", () => {
  test("hosts, hostname, /dev/shm and limits are what the options say", async () => {
    const built = await bench.build(
      [
        "FROM busybox",
        "RUN head -n 1 /etc/hosts > /facts && tail -n 2 /etc/hosts >> /facts && hostname >> /facts && ulimit -Sn >> /facts && ulimit -Hn >> /facts && ulimit -c >> /facts && df -k /dev/shm | tail -n 1 | awk '{print $2}' >> /facts",
      ],
      {
        addHosts: ["db:10.0.0.7", "six=[fd00::7]"],
        hostname: "builder",
        shmSize: 1024 * 1024,
        ulimits: [
          { name: "nofile", soft: 100, hard: 200 },
          { name: "core", soft: 0, hard: 0 },
        ],
      },
    );
    expect(built.text("facts")).toBe(
      "127.0.0.1\tlocalhost builder\n10.0.0.7\tdb\nfd00::7\tsix\nbuilder\n100\n200\n0\n1024\n",
    );
  });

  test("the network of a RUN that names none; what one names comes first", async () => {
    const own = "readlink /proc/self/ns/net";
    const built = await bench.build(
      ["FROM busybox", `RUN ${own} > /first`, `RUN --network=host ${own} > /second`],
      { network: "none", allow: ["network.host"] },
    );
    const host = await readlink("/proc/self/ns/net");
    expect(built.text("first")?.trim()).not.toBe(host);
    expect(built.text("second")?.trim()).toBe(host);
  });

  test("the hostname comes before BUILDKIT_SANDBOX_HOSTNAME, and an empty one is none", async () => {
    const lines = ["FROM busybox", "RUN hostname > /name"];
    const name = async (options: object) =>
      (await bench.build(lines, options)).text("name")?.trim();
    expect(await name({ buildArgs: { BUILDKIT_SANDBOX_HOSTNAME: "arg" } })).toBe("arg");
    expect(await name({ buildArgs: { BUILDKIT_SANDBOX_HOSTNAME: "" } })).toBe("buildkitsandbox");
    const both = { buildArgs: { BUILDKIT_SANDBOX_HOSTNAME: "arg" }, hostname: "option" };
    expect(await name(both)).toBe("option");
  });
});

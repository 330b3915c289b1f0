/** What a step's process is: its user, its capabilities, its surroundings, and how it ends. */
import { readFileSync } from "node:fs";
import { afterAll, beforeAll, expect, test } from "vitest";
import type { TsbuildError } from "../../src/errors.js";
import { leftovers } from "../support/tools-cli.js";
import { describeUnless } from "../support/tools-suite.js";
import type { TarInput } from "../support/tools-tar.js";
import { findTool, lacksRoot, mustRun } from "../support/tools.js";
import { openLab, processSpec, type Lab, type Stage } from "./sandbox-stage.js";

/** Docker's fourteen. */
const CONTAINER_CAPABILITIES = "00000000a80425fb";
const NONE = "0000000000000000";

describeUnless([lacksRoot()], "a step's process", () => {
  let lab: Lab;
  let stage: Stage;
  beforeAll(async () => {
    lab = await openLab("overlay");
    stage = await lab.stage([
      { name: "usr/bin/locked", mode: 0o600, data: "#!/bin/sh\n" },
      { name: "usr/bin/not-a-program", mode: 0o755, data: "just text \0\x01" },
      { name: "usr/bin/no-interpreter", mode: 0o755, data: "#!/absent/interpreter\n" },
      { name: "srv/owned", type: "dir", mode: 0o700, uid: 1000, gid: 1000 },
    ]);
  });
  afterAll(() => lab?.[Symbol.asyncDispose]());

  /** A field of /proc/self/status as the step's own process sees it. */
  const status = async (field: string, user: { uid?: number; gid?: number } = {}) => {
    const text = (await stage.run(["cat", "/proc/self/status"], { groups: [], ...user })).stdout;
    return new RegExp(`^${field}:[ \\t]*(.*)$`, "m").exec(text)?.[1]?.trim();
  };

  test("ends with the command's own exit code", async () => {
    expect((await stage.run("exit 0")).status).toEqual({ kind: "exited", code: 0 });
    expect((await stage.run("exit 37")).status).toEqual({ kind: "exited", code: 37 });
    // A process that the command started and that was killed is the command's affair.
    const { status } = await stage.run("sh -c 'kill -SEGV $$'; exit $?");
    expect(status).toEqual({ kind: "exited", code: 139 });
  });

  test("that the kernel kills is reported by its signal", async () => {
    // The hard limit of CPU time ends it with SIGKILL, which even a namespace's first process cannot ignore.
    const { status } = await stage.run("ulimit -t 1; while :; do :; done");
    expect(status).toEqual({ kind: "signalled", signal: "SIGKILL" });
  });

  test.each([
    [["no-such-program"], 127, 'exec: "no-such-program": executable file not found in $PATH'],
    [["locked"], 127, 'exec: "locked": executable file not found in $PATH'],
    [["/absent/program"], 127, 'exec: "/absent/program": no such file or directory'],
    [["no-interpreter"], 127, 'exec: "/usr/bin/no-interpreter": no such file or directory'],
    [["/usr/bin/locked"], 126, 'exec: "/usr/bin/locked": permission denied'],
    [["/etc"], 126, 'exec: "/etc": permission denied'],
    [["not-a-program"], 126, 'exec: "/usr/bin/not-a-program": exec format error'],
  ] as const)("that cannot be started says why: %j", async (argv, exitCode, because) => {
    const error = await stage.run(argv).then(
      () => undefined,
      (reason: unknown) => reason as TsbuildError,
    );
    expect(error).toMatchObject({ code: "RUN_FAILED", exitCode });
    expect(error?.message).toContain(`tried to run ${argv[0]}: ${because}`);
  });

  test("has exactly the environment it is given", async () => {
    process.env["TSBUILD_TEST_SECRET"] = "of the builder";
    const env = { PATH: "/usr/bin", HOME: "/home/of the image", ODD: "a=b\n$c" };
    const { stdout } = await stage.run(["env"], { env });
    expect(stdout).toBe("PATH=/usr/bin\nHOME=/home/of the image\nODD=a=b\n$c\n");
  });

  test("of root has the capabilities of a container's root and no more", async () => {
    expect(await status("CapEff")).toBe(CONTAINER_CAPABILITIES);
    expect(await status("CapPrm")).toBe(CONTAINER_CAPABILITIES);
    expect(await status("CapBnd")).toBe(CONTAINER_CAPABILITIES);
    expect(await status("CapInh")).toBe(NONE);
    expect(await status("CapAmb")).toBe(NONE);
    await expect(stage.sh("mount -t tmpfs none /tmp")).rejects.toThrow(/permission|not permitted/i);
  });

  test("of another user has none, but may be given some", async () => {
    const user = { uid: 1000, gid: 1000 };
    expect(await status("CapEff", user)).toBe(NONE);
    expect(await status("CapPrm", user)).toBe(NONE);
    expect(await status("CapBnd", user)).toBe(CONTAINER_CAPABILITIES);
    expect(await status("CapAmb", user)).toBe(NONE);
    expect(await status("NoNewPrivs", user)).toBe("0");
  });

  test("has the ids and groups it is given, all of them and no others", async () => {
    const user = { uid: 1000, gid: 1001, groups: [1001, 20, 70_000] };
    expect(await status("Uid", user)).toBe("1000\t1000\t1000\t1000");
    expect(await status("Gid", user)).toBe("1001\t1001\t1001\t1001");
    expect(await status("Groups", user)).toBe("20 1001 70000");
    expect(await status("Groups")).toBe("");
  });

  test("can take another user's rights by a set-uid program", async () => {
    const cat = findTool("cat") ?? "";
    const libraries = [...(await mustRun("ldd", [cat])).matchAll(/(\/\S+) \(0x/g)].map(
      (m) => m[1]!,
    );
    const at = (path: string): TarInput => ({
      name: path.slice(1),
      mode: 0o755,
      data: readFileSync(path),
    });
    const program = { ...at(cat), name: "usr/bin/set-uid-cat", mode: 0o4755 };
    const other = await lab.stage([...libraries.map(at), program]);
    const user = { uid: 1000, gid: 1000, groups: [] };
    const { stdout, stderr } = await other.run(["set-uid-cat", "/proc/self/status"], user);
    expect(stderr).toBe("");
    expect(stdout).toMatch(/^Uid:\t1000\t0\t0\t0$/m);
    expect(stdout).toMatch(new RegExp(`^CapEff:\t${CONTAINER_CAPABILITIES}$`, "m"));
    await other.view[Symbol.asyncDispose]();
  });

  test("starts with signals, mask, limits and descriptors as a login has them", async () => {
    expect(await status("SigIgn")).toBe(NONE);
    expect(await status("SigBlk")).toBe(NONE);
    expect(await stage.sh("umask")).toBe("0022\n");
    expect(Number(await stage.sh("ulimit -n"))).toBeLessThanOrEqual(65_536);
    // 3 is the directory that ls reads.
    expect((await stage.run(["ls", "/proc/self/fd"])).stdout).toBe("0\n1\n2\n3\n");
    expect(await stage.sh("cat; readlink /proc/self/fd/0")).toMatch(/^pipe:/);
    // Ends quietly by SIGPIPE, not with an error about writing.
    expect((await stage.run("yes | head -n 1; true")).stderr).toBe("");
  });

  test("starts in its directory, which is made when absent", async () => {
    expect(await stage.sh("pwd; stat -c '%a %u' .", { cwd: "/made/for/it" })).toBe(
      "/made/for/it\n755 0\n",
    );
    const user = { uid: 1000, gid: 1000, groups: [] };
    expect(await stage.sh("pwd", { cwd: "/srv/owned", ...user })).toBe("/srv/owned\n");
    // As Docker does: root enters it before it becomes another user.
    const { status: ended } = await stage.run(["true"], { cwd: "/srv/owned", uid: 7, gid: 7 });
    expect(ended).toEqual({ kind: "exited", code: 0 });
  });

  test("is the first of its pid namespace and sees no other", async () => {
    expect(await stage.sh("echo $$; readlink /proc/self/exe; ls -d /proc/[0-9]* | wc -l")).toMatch(
      /^1\n\/bin\/sh\n[123]\n$/,
    );
    expect(await stage.sh("hostname; kill -9 2 || true")).toBe("step\n");
  });

  test("takes its background processes along", async () => {
    const marker = "31415926";
    const { status, stdout } = await stage.run(
      `setsid sleep ${marker} & (trap '' TERM HUP; sleep ${marker}) & echo started`,
    );
    expect(status).toEqual({ kind: "exited", code: 0 });
    expect(stdout).toBe("started\n");
    expect(await leftovers(marker)).toEqual([]);
  });

  test("may write more than fits into memory at once, and nothing is lost", async () => {
    let bytes = 0;
    const spec = processSpec(["sh", "-c", "head -c 50000000 /dev/zero; echo end >&2"]);
    const output = ({ chunk }: { chunk: Uint8Array }) => void (bytes += chunk.length);
    await stage.view.run(spec, { output }, AbortSignal.timeout(170_000));
    expect(bytes).toBe(50_000_004);
  });

  test("is killed with all of its children when the build is stopped", async () => {
    const marker = "27182818";
    const controller = new AbortController();
    const running = stage.run(`sleep ${marker} & sleep ${marker}`, { signal: controller.signal });
    setTimeout(() => controller.abort(), 300);
    await expect(running).rejects.toMatchObject({ code: "ABORTED" });
    expect(await leftovers(marker)).toEqual([]);
    expect(await stage.sh("echo the stage lives on")).toBe("the stage lives on\n");
  });

  test("runs beside a step of another stage", async () => {
    const other = await lab.stage();
    const script = "echo 1 > /tmp/mine; sleep 0.3; cat /tmp/mine";
    const both = await Promise.all([stage.sh(script), other.sh(script.replace("1", "2"))]);
    expect(both).toEqual(["1\n", "2\n"]);
    await other.view[Symbol.asyncDispose]();
  });

  test("has no network but its own loopback when the step asks for none", async () => {
    const own = await stage.sh("ls /sys/class/net; ifconfig lo", { network: "none" });
    expect(own).toMatch(/^lo\nlo /);
    expect(own).toContain("UP");
    expect(own).toContain("127.0.0.1");
    const host = await stage.sh("readlink /proc/self/ns/net");
    expect(host).toBe(await mustRun("readlink", ["/proc/self/ns/net"]));
  });
});

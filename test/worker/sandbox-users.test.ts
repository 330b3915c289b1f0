/** The worker as other users have it, and what is left of it when it is killed. */
import { spawn, type ChildProcess } from "node:child_process";
import { chmod, chown, mkdir, mkdtemp, readdir, readFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { build } from "esbuild";
import { afterAll, beforeAll, expect, test } from "vitest";
import { busyboxTar } from "../support/bases.js";
import { CHECKOUT, untilNothingIsLeft } from "../support/tools-cli.js";
import { describeUnless } from "../support/tools-suite.js";
import { eventually, findTool, lacksRoot, lacksTools, removeTree, run } from "../support/tools.js";
import {
  asUser,
  lacksUsers,
  reachableApp,
  userWithoutSubIds,
  userWithSubIds,
  type App,
  type TestUser,
} from "../support/users.js";
import type { LayerBlob, MadeMount } from "../../src/worker/types.js";
import type { SessionInput } from "./sandbox-session.js";
import { writeBlob } from "./sandbox-stage.js";

interface Said {
  readonly driver?: string;
  readonly idMap?: string;
  readonly refused?: readonly { readonly driver: string; readonly because: string }[];
  readonly status?: unknown;
  readonly text?: string;
  readonly error?: string;
}

interface Session extends AsyncDisposable {
  readonly staging: string;
  readonly argv: readonly [string, ...string[]];
}

type Steps = SessionInput["steps"];

/** A directory that `user` owns, with the bundled session program and its input in it. */
async function session(
  user: TestUser | undefined,
  wanted: Steps | ((base: LayerBlob) => Steps),
  driver: SessionInput["driver"] = "auto",
): Promise<Session> {
  const home = await mkdtemp(join(tmpdir(), "tsbuild-session-"));
  const { app, program } = await bundle(home, user);
  const base = await writeBlob(home, await busyboxTar());
  const { path, diffId } = base;
  const steps = typeof wanted === "function" ? wanted(base) : wanted;
  const staging = join(home, "staging");
  await mkdir(staging);
  if (user !== undefined) await chown(staging, user.uid, user.gid);
  await chmod(home, 0o755);
  const input: SessionInput = { driver, staging, layer: { path, diffId }, steps };
  const argv = [app.node, program, JSON.stringify(input)] as const;
  return {
    staging,
    argv: user === undefined ? argv : asUser(user, argv),
    async [Symbol.asyncDispose]() {
      await app[Symbol.asyncDispose]();
      await removeTree(home);
    },
  };
}

async function bundle(
  home: string,
  user: TestUser | undefined,
): Promise<{ readonly app: App; readonly program: string }> {
  const own = { node: process.execPath, dir: CHECKOUT, async [Symbol.asyncDispose]() {} };
  const app: App = user === undefined ? own : await reachableApp(CHECKOUT, user);
  const program = join(home, "session.mjs");
  await build({
    entryPoints: [join(import.meta.dirname, "sandbox-session.ts")],
    outfile: program,
    bundle: true,
    platform: "node",
    format: "esm",
    target: "node20",
    // The worker's own programs are found beside this one's code: as if it lay in `dist`.
    define: { "import.meta.url": JSON.stringify(`file://${app.dir}/dist/session.js`) },
    logLevel: "error",
  });
  return { app, program };
}

async function told(argv: readonly string[]): Promise<readonly Said[]> {
  const [command = "", ...args] = argv;
  const { code, stdout, stderr } = await run(command, args, { cwd: "/" });
  if (code !== 0) throw new Error(stderr);
  return stdout
    .trim()
    .split("\n")
    .map((line) => JSON.parse(line) as Said);
}

describeUnless([lacksUsers(), lacksTools("newuidmap", "unshare")], "an ordinary user", () => {
  test("with subordinate ids builds as root of many ids", async () => {
    const user = await userWithSubIds();
    await using own = await session(user, [
      { script: "id; touch /tmp/f; chown 1234:65534 /tmp/f; stat -c '%u:%g' /tmp/f" },
      { script: "id -u; id -G", options: { uid: 1000, gid: 1001, groups: [1001, 2000] } },
      { script: "grep -E '^(CapEff|NoNewPrivs)' /proc/self/status" },
      { script: "echo x > /dev/null && echo y > /dev/shm/y && ls /sys | wc -l && echo $$" },
      { script: "ls /sys/class/net", options: { network: "none" } },
    ]);
    const [host, ...steps] = await told(own.argv);
    expect(host).toMatchObject({ driver: "overlay", refused: [] });
    expect(host?.idMap).toMatch(new RegExp(`^0-${user.uid}-1_1-\\d+-65536$`));
    expect(steps.map(({ text }) => text)).toMatchObject([
      "uid=0(root) gid=0(root) groups=0(root)\n1234:65534\n",
      "1000\n1001 2000\n",
      "CapEff:\t00000000a80425fb\nNoNewPrivs:\t0\n",
      expect.stringMatching(/^\d+\n1\n$/),
      "lo\n",
      undefined,
    ]);
  });

  test("without subordinate ids has root alone, and is told so", async () => {
    await using own = await session(await userWithoutSubIds(), [
      { script: "id -u; touch /tmp/f; chown 1234 /tmp/f" },
      { script: "true", options: { uid: 1000 } },
    ]);
    const [host, chowned, other] = await told(own.argv);
    expect(host).toMatchObject({ driver: "single-id-overlay" });
    expect(host?.idMap).toMatch(/^single-\d+$/);
    expect(host?.refused).toMatchObject([
      { driver: "overlay", because: expect.stringContaining("/etc/subuid") },
    ]);
    expect(chowned?.text).toMatch(/^0\nchown: .*Invalid argument/);
    expect(other?.error).toContain("tried to run as 1000:0: only 0:0 exists");
  });

  test.each([
    ["overlay", "1234 65534", userWithSubIds],
    ["plain", "1234 65534", userWithSubIds],
    ["single-id-overlay", "0 0", userWithoutSubIds],
    ["single-id-plain", "0 0", userWithoutSubIds],
  ] as const)("has images and caches in steps with the driver %s", async (driver, owner, who) => {
    const script = `exec 2>&1; stat -c '%u %g %a' /c; grep -c ^root /c/passwd; cat /c/kept; echo kept > /c/kept
      ls /i/busybox; touch /i/x && ls /i/x; touch /r/x || echo refused`;
    const step = (layers: readonly LayerBlob[]) => ({
      script,
      options: { mounts: mounts(layers) },
    });
    const mounts = (layers: readonly LayerBlob[]): readonly MadeMount[] => [
      { kind: "image", layers, source: "bin", target: "/i", readonly: false },
      { kind: "image", layers, source: "/", target: "/r", readonly: true },
      {
        kind: "cache",
        key: "0".repeat(64),
        source: "/",
        target: "/c",
        readonly: false,
        uid: 1234,
        gid: 65_534,
        mode: 0o1750,
        sharing: "locked",
        seed: { layers, source: "etc" },
      },
    ];
    await using own = await session(await who(), (base) => [step([base]), step([base])], driver);
    const [host, ...steps] = await told(own.argv);
    expect(host).toMatchObject({ driver });
    const seen = (kept: string): string =>
      `${owner} 1750\n1\n${kept}\n/i/busybox\n/i/x\ntouch: /r/x: Read-only file system\nrefused\n`;
    const missing = "cat: can't open '/c/kept': No such file or directory";
    expect(steps.slice(0, 2).map(({ text }) => text)).toEqual([seen(missing), seen("kept")]);
  });

  test("who may gain no privileges has root alone", async () => {
    await using own = await session(await userWithSubIds(), [{ script: "id -u" }]);
    const [setpriv, ...rest] = own.argv;
    const [host, step] = await told([setpriv, "--no-new-privs", ...rest]);
    expect(host).toMatchObject({ driver: "single-id-overlay" });
    expect(host?.refused?.[0]?.because).toContain("newuidmap");
    expect(step).toMatchObject({ text: "0\n" });
  });
});

describeUnless(
  [lacksUsers(), lacksTools("newuidmap", "unshare")],
  "where parts of /proc are masked",
  () => {
    test("a step gets the outer /proc, since the kernel refuses a fresh one", async () => {
      const script =
        "readlink /proc/self/exe; ls /proc/acpi; cat /proc/1/comm; echo 1 > /proc/sys/vm/drop_caches";
      await using own = await session(await userWithSubIds(), [{ script }]);
      const mask = 'mount -t tmpfs -o ro none /proc/acpi && exec "$@"';
      const [host, step] = await told(["unshare", "--mount", "sh", "-c", mask, "sh", ...own.argv]);
      expect(host).toMatchObject({ driver: "overlay" });
      expect(step?.text).toContain(`/bin/sh\n${await readFile("/proc/1/comm", "utf8")}`);
      expect(step?.text).toMatch(/Read-only file system\n$/);
    });
  },
);

/** What a runtime gives a container's root by default, without CAP_SYS_ADMIN. */
const POD_CAPABILITIES = [
  "chown",
  "dac_override",
  "fowner",
  "fsetid",
  "kill",
  "setgid",
  "setuid",
  "setpcap",
  "net_bind_service",
  "net_raw",
  "sys_chroot",
  "mknod",
  "audit_write",
  "setfcap",
];

describeUnless([lacksRoot(), lacksTools("setpriv", "unshare")], "a container's root", () => {
  test.each([[[]], [["--no-new-privs"]]])(
    "builds in a user namespace of all its ids %j",
    async (flags) => {
      await using own = await session(undefined, [{ script: "chown 1234 /tmp; stat -c %u /tmp" }]);
      const bounding = ["-all", ...POD_CAPABILITIES.map((name) => `+${name}`)].join(",");
      const setpriv = findTool("setpriv") ?? "";
      const [host, step] = await told([
        setpriv,
        ...flags,
        "--bounding-set",
        bounding,
        "--",
        ...own.argv,
      ]);
      expect(host).toMatchObject({ driver: "overlay" });
      expect(host?.idMap).toMatch(/^0-0-/);
      expect(step).toMatchObject({ text: "1234\n" });
    },
  );
});

describeUnless([lacksRoot(), lacksUsers()], "a worker that is killed leaves nothing", () => {
  let user: TestUser;
  const started: ChildProcess[] = [];
  beforeAll(async () => {
    user = await userWithSubIds();
  });
  afterAll(() => {
    for (const child of started) child.kill("SIGKILL");
  });

  const asRoot = (): undefined => undefined;
  const asOrdinary = (): TestUser => user;
  test.each([
    ["front process, of root", asRoot, "front"],
    ["front process, of an ordinary user", asOrdinary, "front"],
    ["worker's process, of root", asRoot, "child"],
    ["worker's process, of an ordinary user", asOrdinary, "child"],
  ] as const)("by the death of the %s", async (_, who, whom) => {
    const marker = String(161_803_000 + Math.floor(Math.random() * 1000));
    const script = `setsid sleep ${marker} & echo waiting; exec sleep ${marker}`;
    await using own = await session(who(), [{ script }]);
    const [command, ...args] = own.argv;
    const front = spawn(command, args, { cwd: "/", stdio: ["ignore", "pipe", "inherit"] });
    started.push(front);
    let text = "";
    front.stdout?.on("data", (chunk: Buffer) => (text += chunk.toString()));
    await eventually("the step to run", async () => (text.includes("waiting") ? true : undefined));
    const pid = whom === "front" ? front.pid : await childOf(front.pid ?? 0);
    process.kill(pid ?? 0, "SIGKILL");
    await untilNothingIsLeft(marker);
    await untilNothingIsLeft(own.staging);
  });
});

/** The process of child.js below a front process: the front started unshare, which started it. */
async function childOf(front: number): Promise<number> {
  const children = async (pid: number): Promise<readonly number[]> => {
    const found: number[] = [];
    for (const task of await readdir(`/proc/${pid}/task`)) {
      const { stdout } = await run("cat", [`/proc/${pid}/task/${task}/children`]);
      found.push(...stdout.split(" ").filter(Boolean).map(Number));
    }
    return found;
  };
  const [unshare = 0] = await children(front);
  const [child = 0] = await children(unshare);
  return child;
}

/**
 * Builds where a container's limits are: parts of /proc covered, no CAP_SYS_ADMIN, a store on an overlay. The Pods of
 * test/pods are the real thing; here its parts are put together one by one, which takes seconds.
 */
import type { ChildProcess } from "node:child_process";
import { mkdir, readFile, stat, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { afterAll, beforeAll, expect, test } from "vitest";
import { busyboxBase } from "../support/bases.js";
import {
  CHECKOUT,
  lacksBuild,
  leftovers,
  plainEnvironment,
  untilNothingIsLeft,
} from "../support/tools-cli.js";
import { byPath, readLayout } from "../support/tools-images.js";
import { describeUnless, expectCode } from "../support/tools-suite.js";
import {
  eventually,
  lacksRoot,
  lacksTools,
  run,
  tempDir,
  type Outcome,
  type TempDir,
} from "../support/tools.js";

interface Container {
  /** Capabilities that it lacks besides SYS_ADMIN. */
  readonly without?: readonly string[];
  /** Shell commands in its mount namespace, before the build. */
  readonly prepare?: string;
  readonly noNewPrivileges?: boolean;
}

describeUnless(
  [lacksRoot(), lacksTools("unshare", "setpriv", "busybox"), lacksBuild()],
  "a build in what a container allows",
  () => {
    let dir: TempDir;
    let base: string;
    let builds = 0;
    beforeAll(async () => {
      dir = await tempDir();
      base = await busyboxBase();
    });
    afterAll(() => dir?.[Symbol.asyncDispose]());

    async function build(
      dockerfile: string,
      { without = [], prepare = "true", noNewPrivileges = false }: Container = {},
      { args = [], onStart }: BuildExtras = {},
    ): Promise<Outcome & { readonly layout: string }> {
      const context = join(dir.path, `context-${++builds}`);
      await mkdir(context);
      await writeFile(join(context, "Dockerfile"), `FROM base\n${dockerfile}`);
      const layout = `${context}-layout`;
      const dropped = ["sys_admin", ...without].map((name) => `-${name}`).join(",");
      const script = `set -e; mount --bind /dev/null /proc/interrupts; ${prepare}; exec setpriv ${noNewPrivileges ? "--no-new-privs" : ""} --bounding-set=${dropped} --inh-caps=${dropped} -- "$@"`;
      const command = [process.execPath, join(CHECKOUT, "bin/tsbuild.js"), "--no-push"];
      const outcome = await run(
        "unshare",
        [
          "--mount",
          "sh",
          "-c",
          script,
          "sh",
          ...command,
          `--context=${context}`,
          `--build-context=base=oci-layout://${base}`,
          `--oci-layout-path=${layout}`,
          `--store=${join(dir.path, "store")}`,
          ...args,
        ],
        { env: plainEnvironment(), ...(onStart === undefined ? {} : { onStart }) },
      );
      return { ...outcome, layout };
    }
    interface BuildExtras {
      readonly args?: readonly string[];
      readonly onStart?: (child: ChildProcess) => void;
    }

    test("a step finds itself under its own numbers in /proc, and adopts its orphans", async () => {
      const outcome = await build(
        [
          'RUN grep -q this-very-one /proc/$$/cmdline && test "$(readlink /proc/self/root)" = /',
          "RUN (sleep 0 & echo $! >/orphan) && sleep 0.2 && test -e /orphan",
          // By /proc/PID/stat the parent of an orphan is the command itself.
          'RUN sh -c \'sh -c "sleep 9 & echo \\$! >/child"\' && set -- $(cat /proc/$(cat /child)/stat) && test "$4" = $$',
        ].join("\n"),
      );
      expectCode(outcome, 0);
    });

    test.each([
      ["in the background", (sleep: string) => `${sleep} & echo started`],
      ["in a session of its own", (sleep: string) => `setsid ${sleep} & sleep 0.2`],
      [
        "deaf to signals, twice removed",
        (sleep: string) => `(trap '' TERM INT HUP; (${sleep} &) &) ; sleep 0.2`,
      ],
    ])("what a step leaves %s is killed when it ends, and the build goes on", async (_, script) => {
      const seconds = `86400.${process.pid}${builds}`;
      const outcome = await build(`RUN ${script(`sleep ${seconds}`)}\nRUN test -d /proc/self\n`);
      expectCode(outcome, 0);
      expect(await leftovers(`sleep\0${seconds}`)).toEqual([]);
    });

    test.each(["SIGINT", "SIGKILL"] as const)("%s leaves nothing of a step", async (signal) => {
      const seconds = `86400.${process.pid}${builds}`;
      let child: ChildProcess | undefined;
      const script = `RUN trap '' INT TERM; setsid sleep ${seconds} & sleep ${seconds}\n`;
      const ended = build(script, {}, { onStart: (started) => (child = started) });
      await eventually("the RUN to wait", async () =>
        (await leftovers(`sleep\0${seconds}`)).length >= 2 ? true : undefined,
      );
      child?.kill(signal);
      const { code } = await ended;
      expect(code).toBe(signal === "SIGINT" ? 130 : null);
      await untilNothingIsLeft(seconds);
    });

    test("a worker that is killed takes its steps along", async () => {
      const seconds = `86400.${process.pid}${builds}`;
      const ended = build(`RUN setsid sleep ${seconds} & sleep ${seconds}\n`);
      await eventually("the RUN to wait", async () =>
        (await leftovers(`sleep\0${seconds}`)).length >= 2 ? true : undefined,
      );
      const workers = (await leftovers("dist/child.cjs")).map(
        (line) => /of (\d+) /.exec(line)?.[1],
      );
      const own = await Promise.all(
        workers.map(async (pid) => ((await isBelow(Number(pid), process.pid)) ? Number(pid) : 0)),
      );
      for (const pid of own.filter(Boolean)) process.kill(pid, "SIGKILL");
      expectCode(await ended, 70);
      await untilNothingIsLeft(seconds);
    });

    const OWNERS =
      "RUN echo app:x:1234:1234::/data:/bin/sh >>/etc/passwd && echo app:x:1234: >>/etc/group && mkdir /data && chown app:app /data && chmod 2750 /data\nUSER app\nRUN --mount=type=cache,uid=1234,target=/cache id -u >/data/id && touch /cache/x\n";

    test.each([
      ["without SETFCAP, by other ids than its own", { without: ["setfcap"] }],
      ["without SETFCAP, under no_new_privs", { without: ["setfcap"], noNewPrivileges: true }],
      ["with its own ids, under no_new_privs", { noNewPrivileges: true }],
    ])("root %s keeps owners and users", async (_, container) => {
      const outcome = await build(OWNERS, container);
      expectCode(outcome, 0);
      const image = await readLayout(outcome.layout);
      const entries = image.layers.map(byPath);
      const data = entries.map((layer) => layer.get("data/") ?? layer.get("data")).find(Boolean);
      expect(data).toMatchObject({ uid: 1234, gid: 1234, mode: 0o2750 });
      const id = entries.map((layer) => layer.get("data/id")).find(Boolean);
      expect(id).toMatchObject({ uid: 1234, gid: 1234 });
      expect(String(id?.data)).toBe("1234\n");
    });

    test("a store that other ids may not reach by its path serves them all the same, and stays closed", async () => {
      const closed = join(dir.path, "closed");
      await mkdir(closed, { mode: 0o700 });
      const store = join(closed, "below/store");
      const twice = [1, 2].map(
        () => () => build(OWNERS, { without: ["setfcap"] }, { args: [`--store=${store}`] }),
      );
      for (const again of twice) expectCode(await again(), 0);
      expect((await stat(closed)).mode & 0o777).toBe(0o700);
      expect((await stat(store)).mode & 0o007).toBe(0);
      // And the same store serves who may do more.
      const outcome = await run(process.execPath, [
        join(CHECKOUT, "bin/tsbuild.js"),
        "--no-push",
        `--context=${join(dir.path, `context-${builds}`)}`,
        `--store=${store}`,
        `--build-context=base=oci-layout://${base}`,
      ]);
      expectCode(outcome, 0);
    });

    /** A store on an overlay, and a machine with so much memory. */
    const inMemory = (name: string, available: number): Container => ({
      prepare: [
        `mkdir -p ${dir.path}/${name}/low ${dir.path}/${name}/up ${dir.path}/${name}/work ${dir.path}/${name}/store`,
        `mount -t overlay none -o lowerdir=${dir.path}/${name}/low,upperdir=${dir.path}/${name}/up,workdir=${dir.path}/${name}/work ${dir.path}/${name}/store`,
        `sed 's/^MemAvailable:.*/MemAvailable: ${Math.floor(available / 1024)} kB/' /proc/meminfo >${dir.path}/${name}/meminfo`,
        `mount --bind ${dir.path}/${name}/meminfo /proc/meminfo`,
      ].join("; "),
    });
    const MiB = 1024 * 1024;

    test("what steps write is kept in memory where the store is an overlay, said once, and moved when it fills", async () => {
      const steps = [1, 2, 3, 4].map(
        (n) => `RUN dd if=/dev/urandom of=/big${n} bs=1M count=40 2>/dev/null; rm -f /big${n - 1}`,
      );
      const outcome = await build(
        `${steps.join("\n")}\nRUN test ! -e /big3 && test -e /big4 && ! test -e /gone\n`,
        inMemory("filling", 256 * MiB),
        { args: [`--store=${dir.path}/filling/store`, "--driver=overlay"] },
      );
      expectCode(outcome, 0);
      expect(outcome.stderr.match(/is kept in memory, up to 0\.1 GiB/g)).toHaveLength(1);
      const image = await readLayout(outcome.layout);
      const names = image.layers.flatMap((layer) => layer.map(({ name }) => name));
      expect(names.filter((name) => name.startsWith(".wh."))).toEqual([
        ".wh.big1",
        ".wh.big2",
        ".wh.big3",
      ]);
    });

    test("a step that fills the memory is told of the bound, and of the way out", async () => {
      const outcome = await build(
        "RUN dd if=/dev/zero of=/big bs=1M count=300\n",
        inMemory("full", 256 * MiB),
        { args: [`--store=${dir.path}/full/store`, "--driver=overlay"] },
      );
      expectCode(outcome, 1);
      expect(outcome.stderr).toContain("No space left on device");
      expect(outcome.stderr).toMatch(
        /kept in memory here, at most 0\.1 GiB; put the store on a volume/,
      );
    });

    test("with little memory directories and scans take its place, without being asked", async () => {
      const outcome = await build("RUN echo x >/x\n", inMemory("little", 512 * MiB), {
        args: [`--store=${dir.path}/little/store`],
      });
      expectCode(outcome, 0);
      expect(outcome.stderr).not.toContain("kept in memory");
      const image = await readLayout(outcome.layout);
      expect(image.layers.at(-1)?.map(({ name }) => name)).toContain("x");
    });
  },
);

/** Whether a process is a descendant of another. */
async function isBelow(pid: number, ancestor: number): Promise<boolean> {
  for (let at = pid; at > 1;) {
    if (at === ancestor) return true;
    const text = await readFile(`/proc/${at}/stat`, "latin1").catch(() => "");
    at = Number(text.slice(text.lastIndexOf(")") + 2).split(" ")[1] ?? 0);
  }
  return false;
}

import { mkdir, readdir, readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { afterAll, beforeAll, expect, test } from "vitest";
import { busyboxBase, pushBase } from "../support/bases.js";
import { freePort, startRegistry, type RegistryService } from "../support/services.js";
import {
  builder,
  errorLines,
  lacksBuild,
  leftovers,
  plainEnvironment,
  stackLines,
  untilNothingIsLeft,
  type Builder,
} from "../support/tools-cli.js";
import {
  eventually,
  lacksRoot,
  lacksTools,
  run,
  tempDir,
  type Outcome,
  type TempDir,
} from "../support/tools.js";
import { describeUnless, expectCode } from "../support/tools-suite.js";

const ACCOUNT = { username: "ann", password: "right-password" };

describeUnless(
  [lacksTools("docker-registry", "skopeo", "busybox", "htpasswd"), lacksBuild()],
  "a build that cannot succeed",
  () => {
    let dir: TempDir;
    let registry: RegistryService;
    let locked: RegistryService;
    let tsbuild: Builder;
    let contexts = 0;

    beforeAll(async () => {
      dir = await tempDir();
      registry = await startRegistry();
      locked = await startRegistry({ htpasswd: ACCOUNT });
      await pushBase(await busyboxBase(), registry, "library/busybox:latest");
      tsbuild = builder({ store: join(dir.path, "store"), registry });
    });
    afterAll(async () => {
      await untilNothingIsLeft(dir.path);
      await registry[Symbol.asyncDispose]();
      await locked[Symbol.asyncDispose]();
      await dir[Symbol.asyncDispose]();
    });

    const contextOf = async (dockerfile: string | undefined): Promise<string> => {
      const context = join(dir.path, `context-${contexts++}`);
      await mkdir(context);
      await writeFile(join(context, "here"), "here\n");
      if (dockerfile !== undefined) await writeFile(join(context, "Dockerfile"), dockerfile);
      return context;
    };

    const buildOf = async (
      dockerfile: string | undefined,
      ...flags: readonly string[]
    ): Promise<Outcome> =>
      tsbuild.run(["--context", await contextOf(dockerfile), "--no-push", ...flags]);

    /** One message that says what is wrong, the exit code, no stack trace; and the next build works. */
    const expectFailure = async (
      outcome: Outcome,
      code: number,
      message: RegExp,
    ): Promise<void> => {
      expectCode(outcome, code);
      expect(errorLines(outcome)).toEqual([expect.stringMatching(message)]);
      expect(stackLines(outcome)).toEqual([]);
      await untilNothingIsLeft(dir.path);
      expectCode(await buildOf("FROM busybox\nRUN true\n"), 0);
    };

    test("a missing Dockerfile", async () => {
      await expectFailure(await buildOf(undefined), 66, /Dockerfile.*not exist/);
    });

    test("a Dockerfile with a syntax error is shown with its line", async () => {
      const outcome = await buildOf("FROM busybox\nRUN true\nENV\nCMD sh\n");
      await expectFailure(outcome, 65, /Dockerfile:3/);
    });

    test("an unknown instruction comes with what was meant", async () => {
      const outcome = await buildOf("FROM busybox\nCOPPY here /\n");
      await expectFailure(outcome, 65, /COPPY/i);
      expect(outcome.stderr).toMatch(/did you mean.*COPY/i);
    });

    test("an unknown flag", async () => {
      const outcome = await buildOf("FROM busybox\n", "--no-such-flag");
      await expectFailure(outcome, 64, /no-such-flag/);
    });

    test("a COPY source that is not there", async () => {
      await expectFailure(await buildOf("FROM busybox\nCOPY absent /\n"), 66, /absent/);
    });

    test("a context that is not there", async () => {
      const context = join(dir.path, "no-such-context");
      const outcome = await tsbuild.run(["--context", context, "--no-push"]);
      await expectFailure(outcome, 66, /no-such-context/);
    });

    test("a registry that nobody answers for", async () => {
      const host = `127.0.0.1:${await freePort()}`;
      const outcome = await buildOf(`FROM ${host}/some/base\n`, "--insecure-registry", host);
      await expectFailure(outcome, 75, new RegExp(host));
    });

    test("a tag that the registry does not have", async () => {
      const outcome = await buildOf(`FROM ${registry.host}/library/busybox:no-such-tag\n`);
      await expectFailure(outcome, 75, /no-such-tag/);
    });

    test("a tag that the registry does not have, once the worker of a new store is on its way", async () => {
      const fresh = builder({ store: join(dir.path, "fresh"), registry });
      const context = await contextOf(`FROM ${registry.host}/library/busybox:missing\nRUN true\n`);
      const outcome = await fresh.run(["--context", context, "--no-push"]);
      // The command does not end before what it has started.
      expect(await leftovers(fresh.store)).toEqual([]);
      expect(await readdir(join(fresh.store, "staging"))).toEqual([]);
      await expectFailure(outcome, 75, /busybox:missing/);
    });

    test("a password that the registry refuses, before anything is built", async () => {
      const docker = await locked.dockerConfig({ ...ACCOUNT, password: "wrong-password" });
      const outcome = await tsbuild.run(
        [
          "--context",
          await contextOf("FROM busybox\nRUN sleep 60\n"),
          "--destination",
          `${locked.host}/team/app:1`,
          "--insecure-registry",
          locked.host,
        ],
        { env: plainEnvironment({ DOCKER_CONFIG: docker }) },
      );
      expect(outcome.stderr).not.toContain("wrong-password");
      await expectFailure(outcome, 77, new RegExp(locked.host));
    });

    test("a RUN that fails gives its own exit code", async () => {
      const outcome = await buildOf("FROM busybox\nRUN echo before; exit 42\n");
      await expectFailure(outcome, 42, /exit 42/);
      expect(outcome.stderr).toContain("before");
    });

    test("a RUN that a signal kills gives 128 and the signal", async () => {
      // Its shell is pid 1 of the step, which only a signal from outside can end.
      const seconds = `86400.${process.pid}`;
      const ended = buildOf(`FROM busybox\nRUN exec sleep ${seconds}\n`);
      await eventually("the RUN to wait", () => killCommand(`sleep\0${seconds}\0`));
      await expectFailure(await ended, 137, /sleep/);
    });

    describeUnless([lacksRoot(), lacksTools("unshare")], "for want of space", () => {
      test.each([
        ["while a base is fetched", 1, "FROM busybox\nRUN true\n"],
        ["while a RUN writes", 24, "FROM busybox\nRUN dd if=/dev/zero of=/big bs=1M count=64\n"],
        ["while a COPY is packed", 24, "FROM scratch\nCOPY random /\n"],
      ])("%s, a full disk is named", async (_, megabytes, dockerfile) => {
        const context = await contextOf(dockerfile);
        const { randomBytes } = await import("node:crypto");
        await writeFile(join(context, "random"), randomBytes(48 << 20));
        const small = join(dir.path, `small-${contexts}`);
        await mkdir(small);
        const [node, ...args] = builder({ store: small, registry }).argv([
          "--context",
          context,
          "--no-push",
          "--oci-layout-path",
          join(dir.path, `image-${contexts}`),
        ]);
        const mount = `mount -t tmpfs -o size=${megabytes}m tmpfs "${small}" && exec "$@"`;
        const outcome = await run(
          "unshare",
          ["--mount", "--propagation", "private", "sh", "-c", mount, "sh", node, ...args],
          { env: plainEnvironment() },
        );
        expect(outcome.stderr).toMatch(/no space left|ENOSPC|disk is full/i);
        // A command that meets the full disk fails by its own code; ours is for what tsbuild writes.
        await expectFailure(outcome, dockerfile.includes("dd ") ? 1 : 74, /./);
      });
    });
  },
);

/** Kills the one process with this command line, and answers whether there was one. */
async function killCommand(cmdline: string): Promise<true | undefined> {
  for (const pid of (await readdir("/proc")).filter((name) => /^\d+$/.test(name))) {
    const text = await readFile(`/proc/${pid}/cmdline`, "utf8").catch(() => "");
    if (text === cmdline) {
      process.kill(Number(pid), "SIGKILL");
      return true;
    }
  }
  return undefined;
}

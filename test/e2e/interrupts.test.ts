import { mkdir, writeFile } from "node:fs/promises";
import { join } from "node:path";
import type { ChildProcess } from "node:child_process";
import { afterAll, beforeAll, expect, test } from "vitest";
import { busyboxBase, pushBase } from "../support/bases.js";
import { startRegistry, type RegistryService } from "../support/services.js";
import {
  builder,
  errorLines,
  lacksBuild,
  leftovers,
  stackLines,
  untilNothingIsLeft,
  type Builder,
} from "../support/tools-cli.js";
import { eventually, lacksTools, tempDir, type Outcome, type TempDir } from "../support/tools.js";
import { describeUnless, expectCode } from "../support/tools-suite.js";

describeUnless(
  [lacksTools("docker-registry", "skopeo", "busybox"), lacksBuild()],
  "a build that is stopped inside a RUN",
  () => {
    let dir: TempDir;
    let registry: RegistryService;
    let tsbuild: Builder;

    beforeAll(async () => {
      dir = await tempDir();
      registry = await startRegistry();
      await pushBase(await busyboxBase(), registry, "library/busybox:latest");
      tsbuild = builder({ store: join(dir.path, "store"), registry });
    });
    afterAll(async () => {
      await registry[Symbol.asyncDispose]();
      await dir[Symbol.asyncDispose]();
    });

    /** Starts a build whose RUN waits, sends `signal` once it does, and answers how the build ended. */
    const stopped = async (name: string, signal: NodeJS.Signals): Promise<Outcome> => {
      const context = join(dir.path, name);
      await mkdir(context);
      // A number that no other process of this machine waits for, to find this one by.
      const seconds = `86400.${process.pid}${Date.now() % 100_000}`;
      const background = `sleep ${seconds} & sleep ${seconds}`;
      await writeFile(
        join(context, "Dockerfile"),
        `FROM busybox\nRUN echo kept > /first\nRUN trap '' INT TERM; ${background}\n`,
      );
      let child: ChildProcess | undefined;
      const ended = tsbuild.run(
        ["--context", context, "--dockerfile", join(context, "Dockerfile"), "--no-push"],
        { onStart: (started) => (child = started) },
      );
      await eventually("the RUN to wait", async () =>
        (await leftovers(`sleep\0${seconds}`)).length >= 2 ? true : undefined,
      );
      child?.kill(signal);
      const outcome = await ended;
      await untilNothingIsLeft(seconds);
      await untilNothingIsLeft(dir.path);
      return outcome;
    };

    const expectNextBuildToWork = async (name: string): Promise<void> => {
      const context = join(dir.path, `${name}-next`);
      await mkdir(context);
      await writeFile(
        join(context, "Dockerfile"),
        "FROM busybox\nRUN echo kept > /first\nRUN test -f /first\n",
      );
      const outcome = await tsbuild.run(["--context", context, "--no-push"]);
      expectCode(outcome, 0);
      await untilNothingIsLeft(dir.path);
    };

    test.each(["SIGINT", "SIGTERM"] as const)(
      "by %s ends with 130, one message, and nothing left",
      async (signal) => {
        const outcome = await stopped(signal, signal);
        expect(outcome).toMatchObject({ code: 130, signal: null });
        expect(errorLines(outcome)).toHaveLength(1);
        expect(stackLines(outcome)).toEqual([]);
        await expectNextBuildToWork(signal);
      },
    );

    test("by kill -9 of the front process leaves nothing either", async () => {
      const outcome = await stopped("kill", "SIGKILL");
      expect(outcome).toMatchObject({ signal: "SIGKILL" });
      await expectNextBuildToWork("kill");
    });
  },
);

/** Contexts with things that are no files, that cannot be read, or that change meanwhile: never a hang. */
import { execFileSync } from "node:child_process";
import { appendFileSync, chmodSync, existsSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { createServer } from "node:net";
import { join } from "node:path";
import { afterAll, beforeAll, expect, test } from "vitest";
import { byPath, readLayout } from "../support/tools-images.js";
import { lacksRoot, lacksTools } from "../support/tools.js";
import { errorLines, lacksBuild } from "../support/tools-cli.js";
import { describeUnless, expectCode } from "../support/tools-suite.js";
import { lacksUsers } from "../support/users.js";
import { expectOneLine, openPlace, type Place } from "./support.js";

/** Longer than a build of nothing takes on a busy machine, and far from forever. */
const PATIENCE_MS = 170_000;
const LACKS = [lacksRoot(), lacksUsers(), lacksTools("busybox", "mkfifo"), lacksBuild()];

describeUnless(LACKS, "odd contexts", () => {
  let place: Place;
  beforeAll(async () => {
    place = await openPlace();
  });
  afterAll(async () => {
    await place[Symbol.asyncDispose]();
  });

  const build = (context: string, flags: readonly string[] = []) =>
    place.build(context, { timeoutMs: PATIENCE_MS, flags });

  test("pipes stay pipes, sockets become empty files, links that go round stay links", async () => {
    const context = await place.context("odd", {
      Dockerfile: "FROM scratch\nCOPY . /c/\nADD pipe /added\nCOPY p*e /by-pattern/\n",
    });
    execFileSync("mkfifo", [join(context, "pipe")]);
    symlinkSync("loop-b", join(context, "loop-a"));
    symlinkSync("loop-a", join(context, "loop-b"));
    symlinkSync(".", join(context, "self"));
    symlinkSync("/etc/passwd", join(context, "out"));
    const server = createServer();
    await new Promise<void>((resolve) => server.listen(join(context, "socket"), resolve));
    const outcome = await build(context);
    await new Promise((resolve) => server.close(resolve));
    expectCode(outcome, 0);
    const files = byPath((await readLayout(outcome.layout)).layers.flat());
    expect(files.get("c/pipe")?.type).toBe("fifo");
    expect(files.get("added")?.type).toBe("fifo");
    expect(files.get("by-pattern/pipe")?.type).toBe("fifo");
    expect(files.get("c/socket")).toMatchObject({ type: "file", data: Buffer.alloc(0) });
    expect(files.get("c/loop-a")).toMatchObject({ type: "symlink", linkname: "loop-b" });
    expect(files.get("c/self")).toMatchObject({ type: "symlink", linkname: "." });
    expect(files.get("c/out")).toMatchObject({ type: "symlink", linkname: "/etc/passwd" });
  });

  test.each([
    ["a link that goes round", "COPY loop /x", /loop/],
    ["a file through one", "COPY loop/x /x", /loop/],
    ["a link out of the context", "COPY out /x", /out.*not found|etc\/hostname/],
    ["a file through a link out", "ADD etc/hostname /x", /etc\/hostname/],
  ])("%s as a source is one error", async (name, line, says) => {
    const context = await place.context(`source-${name}`.replaceAll(" ", "-"), {
      Dockerfile: `FROM scratch\n${line}\n`,
    });
    symlinkSync("loop", join(context, "loop"));
    symlinkSync("/etc/hostname", join(context, "out"));
    symlinkSync("/etc", join(context, "etc"));
    expectOneLine(await build(context), says);
  });

  test.each([".dockerignore", "Dockerfile", "Dockerfile.dockerignore"])(
    "a pipe in the place of %s, which nobody writes to, is an error",
    async (name) => {
      const context = await place.context(`pipe-${name}`, {
        Dockerfile: "FROM scratch\nCOPY . /\n",
      });
      rmSync(join(context, name), { force: true });
      execFileSync("mkfifo", [join(context, name)]);
      expectOneLine(
        await build(context),
        new RegExp(`${name}.*(pipe|not a (regular )?file|empty)`),
      );
    },
  );

  test("what a user may not read is named", async () => {
    const context = await place.context("unreadable", {
      Dockerfile: "FROM scratch\nCOPY . /c/\n",
      closed: "secret\n",
    });
    chmodSync(join(context, "closed"), 0o600);
    const outcome = await place.build(context, { driver: "user, overlay", timeoutMs: PATIENCE_MS });
    expectOneLine(outcome, /"\/closed" of the context: EACCES/);
    const other = await place.context("unreadable/below", { file: "x" });
    chmodSync(join(context, "closed"), 0o644);
    chmodSync(other, 0o700);
    const second = await place.build(context, { driver: "user, overlay", timeoutMs: PATIENCE_MS });
    expectOneLine(second, /\/below" of the context: EACCES/);
  });

  test.each([
    ["grows", (path: string) => appendFileSync(path, "more")],
    ["is cut", (path: string) => writeFileSync(path, "cut")],
    ["vanishes", (path: string) => rmSync(path, { force: true })],
  ])("a file that %s while it is read is an error, or was read before", async (name, change) => {
    const context = await place.context(`changing-${name}`.replaceAll(" ", "-"), {
      Dockerfile: "FROM scratch\nCOPY . /c/\n",
      aaa: Buffer.alloc(64 * 1024 * 1024, 7),
      zzz: Buffer.alloc(32 * 1024 * 1024, 8),
    });
    const timer = setInterval(() => {
      if (existsSync(join(place.path, "root"))) change(join(context, "zzz"));
    }, 5);
    const outcome = await build(context);
    clearInterval(timer);
    expect(outcome.signal).toBeNull();
    if (outcome.code === 0) return;
    expect(errorLines(outcome)).toHaveLength(1);
    expect(errorLines(outcome)[0]).toMatch(/"\/zzz" of the context: it changed|zzz.*(grew|shrank)/);
  });
});

import { existsSync } from "node:fs";
import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { afterAll, beforeAll, expect, test } from "vitest";
import { CHECKOUT } from "../support/tools-cli.js";
import { lacksRoot, lacksTools, mustRun, run, tempDir, type TempDir } from "../support/tools.js";
import { describeUnless, expectCode } from "../support/tools-suite.js";

const notAClone = existsSync(join(CHECKOUT, ".git")) ? undefined : "not a git checkout";

describeUnless([lacksRoot(), lacksTools("git", "npm"), notAClone], "the README's commands", () => {
  let clone: TempDir;
  let environment: NodeJS.ProcessEnv;

  beforeAll(async () => {
    clone = await tempDir("tsbuild-clone-");
    // A checkout may belong to another user than the one who runs the tests.
    const git = ["-c", "safe.directory=*", "clone", "--quiet", "--no-hardlinks"];
    await mustRun("git", [...git, `file://${CHECKOUT}`, join(clone.path, "tsbuild")], {
      env: {
        ...process.env,
        GIT_CONFIG_COUNT: "1",
        GIT_CONFIG_KEY_0: "safe.directory",
        GIT_CONFIG_VALUE_0: "*",
      },
    });
    const own = Object.entries(process.env).filter(
      ([name]) => !/^(VITEST|NODE_ENV|npm_)/.test(name),
    );
    environment = Object.fromEntries(own);
  });
  afterAll(() => clone[Symbol.asyncDispose]());

  const command = (name: string, ...args: readonly string[]) =>
    run(join(clone.path, "tsbuild", name), args, { env: environment, timeoutMs: 280_000 });

  test("the demo builds an image in a fresh clone and shows it", async () => {
    const readme = await readFile(join(CHECKOUT, "README.md"), "utf8");
    expect(readme).toContain("./scripts/demo");
    const image = join(clone.path, "image");
    const outcome = await command("scripts/demo", "--keep", image);
    expectCode(outcome, 0);
    expect(outcome.stdout).toMatch(/^Digest +sha256:[0-9a-f]{64}$/m);
    expect(outcome.stdout).toContain("<b>No daemon</b>");
    const index: unknown = JSON.parse(await readFile(join(image, "index.json"), "utf8"));
    expect(index).toMatchObject({ manifests: [expect.anything()] });
  }, 300_000);

  test("the test command sets a fresh clone up and ends with the count", async () => {
    const readme = await readFile(join(CHECKOUT, "README.md"), "utf8");
    expect(readme).toContain("./scripts/test");
    // One file: all of them are what is running now.
    const outcome = await command("scripts/test", "test/architecture");
    expectCode(outcome, 0);
    expect(outcome.stdout.trim().split("\n").at(-1)).toMatch(/^\d+ passed, 0 failed$/);
  }, 300_000);
});

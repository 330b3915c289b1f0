import { mkdir, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { expect, test } from "vitest";
import { describeUnless } from "../support/tools-suite.js";
import { CHECKOUT, lacksBuild, plainEnvironment } from "../support/tools-cli.js";
import { lacksRoot, lacksTools, run, tempDir } from "../support/tools.js";

describeUnless([lacksRoot(), lacksTools("proot"), lacksBuild()], "--strict", () => {
  test.each([
    ["proot", /device nodes that it makes cannot be opened/],
    ["single-id-plain", /belongs to root in the image, it can give nothing to another user/],
    ["single-id-overlay", /belongs to root in the image, .* and make no device nodes/],
  ])("refuses the driver %s, which is a notice without it", async (driver, losses) => {
    await using dir = await tempDir();
    const context = join(dir.path, "context");
    await mkdir(context);
    await writeFile(join(context, "Dockerfile"), 'FROM scratch\nRUN ["/missing"]\n');
    const args = [`--context=${context}`, "--no-push", `--store=${join(dir.path, "store")}`];
    const build = (...more: readonly string[]): ReturnType<typeof run> =>
      run(process.execPath, [join(CHECKOUT, "bin/tsbuild.js"), ...args, ...more], {
        env: plainEnvironment({}),
      });
    const strict = await build(`--driver=${driver}`, "--strict");
    expect(strict).toMatchObject({ code: 69 });
    expect(strict.stderr).toMatch(losses);
    const lenient = await build(`--driver=${driver}`);
    expect(lenient).toMatchObject({ code: 127 });
    expect(lenient.stderr).toMatch(losses);
  });
});

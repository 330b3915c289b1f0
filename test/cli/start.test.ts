import { spawnSync } from "node:child_process";
import { existsSync, readFileSync } from "node:fs";
import { writeFile } from "node:fs/promises";
import { join } from "node:path";
import { describe, expect, test } from "vitest";
import { CHECKOUT, lacksBuild } from "../support/tools-cli.js";
import { mustRun, tempDir } from "../support/tools.js";
import { describeUnless } from "../support/tools-suite.js";

const start = (file: string, ...args: readonly string[]): Promise<string> =>
  mustRun(process.execPath, [join(CHECKOUT, "bin/start.cjs"), file, ...args]);
const makeCode = (file: string): Promise<string> =>
  mustRun(process.execPath, [
    "--predictable",
    "--random-seed=1",
    join(CHECKOUT, "scripts/make-code.cjs"),
    file,
  ]);
const PROGRAM = `const beside = require("./beside.cjs");
console.log(process.argv.slice(2).join(), beside.name, __filename, require("node:path").sep);
`;

/** In a process of its own: the tests' own may have other flags. */
const IS_TAKEN = `const [, filename] = process.argv;
const read = require("node:fs").readFileSync;
const source = require("node:module").wrap(read(filename, "latin1"));
const cachedData = read(filename + ".code");
const { cachedDataRejected } = new (require("node:vm").Script)(source, { filename, cachedData });
console.log(!cachedDataRejected);`;

/** Asks a server of its own with what the command asks registries with. */
const ASKS = `const { createServer } = require("node:http");
const { Agent } = require(process.argv[1]);
const server = createServer((_, answer) => answer.end("here"));
server.listen(0, "127.0.0.1", async () => {
  const agent = new Agent();
  const origin = "http://127.0.0.1:" + server.address().port;
  const { body } = await agent.request({ origin, path: "/", method: "GET" });
  console.log(await body.text());
  await agent.close();
  server.close();
});`;

describe("a file that is started", () => {
  test("runs as if Node had started it, with what was made of it, without, and with something else", async () => {
    await using dir = await tempDir("tsbuild-start-");
    const file = join(dir.path, "program.cjs");
    await writeFile(file, PROGRAM);
    await writeFile(join(dir.path, "beside.cjs"), 'exports.name = "beside";\n');
    const expected = await mustRun(process.execPath, [file, "a", "b"]);
    expect(expected.trim()).toBe(`a,b beside ${file} /`);
    expect(await start(file, "a", "b")).toBe(expected);
    await makeCode(file);
    expect(existsSync(`${file}.code`)).toBe(true);
    expect(await start(file, "a", "b")).toBe(expected);
    await writeFile(`${file}.code`, "of another make");
    expect(await start(file, "a", "b")).toBe(expected);
  });

  test("has the same code each time", async () => {
    await using dir = await tempDir("tsbuild-start-");
    const file = join(dir.path, "program.cjs");
    await writeFile(file, "const twice = (n) => 2 * n;\nconsole.log(twice(2));\n");
    await makeCode(file);
    const first = readFileSync(`${file}.code`);
    await makeCode(file);
    expect(readFileSync(`${file}.code`).equals(first)).toBe(true);
  });

  test("ends with its own exit code", async () => {
    await using dir = await tempDir("tsbuild-start-");
    const file = join(dir.path, "program.cjs");
    await writeFile(file, "process.exitCode = 3;\n");
    const { status } = spawnSync(process.execPath, [join(CHECKOUT, "bin/start.cjs"), file]);
    expect(status).toBe(3);
  });
});

describeUnless([lacksBuild()], "the build", () => {
  test.each(["cli/main", "cli/undici", "child", "worker/root-work", "worker/sandbox/init"])(
    "made code of %s that the Node which built it takes",
    async (name) => {
      const file = join(CHECKOUT, "dist", `${name}.cjs`);
      expect((await mustRun(process.execPath, ["-e", IS_TAKEN, file])).trim()).toBe("true");
    },
  );

  test("reads HTTP with what V8 makes of the parser at first, and does not compile it once more", async () => {
    const file = join(CHECKOUT, "dist/cli/undici.cjs");
    const flags = ["--trace-wasm-compilation-times", "-e", ASKS, file];
    const said = await mustRun(process.execPath, flags);
    expect(said).toContain("here");
    expect(said).toContain("using Liftoff");
    expect(said).not.toContain("using TurboFan");
  });
});

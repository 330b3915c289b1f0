import { existsSync, readdirSync, readFileSync, statSync } from "node:fs";
import { chmod, chown, mkdir, rename, writeFile } from "node:fs/promises";
import { basename, join } from "node:path";
import { describe, expect, test } from "vitest";
import { CHECKOUT } from "../support/tools-cli.js";
import { run, tempDir, type TempDir } from "../support/tools.js";

const START = join(CHECKOUT, "bin/start.cjs");
const IS_ROOT = process.geteuid?.() === 0;

/** A command of two files and the cache directory of who runs it. */
class Command implements AsyncDisposable {
  readonly #dir: TempDir;
  readonly file: string;
  readonly cache: string;
  readonly kept: string;

  private constructor(dir: TempDir) {
    this.#dir = dir;
    this.file = join(dir.path, "program.cjs");
    this.cache = join(dir.path, "cache");
    this.kept = join(this.cache, "tsbuild-code");
  }

  static async make(says = "one"): Promise<Command> {
    const command = new Command(await tempDir("tsbuild-kept-"));
    await command.write(says);
    await writeFile(join(command.#dir.path, "beside.cjs"), 'exports.name = "beside";\n');
    await mkdir(command.cache);
    return command;
  }

  /** In the place of what was there, as an installation does it. */
  async write(says: string, last = ""): Promise<void> {
    const text = `const beside = require("./beside.cjs");\nconsole.log(${JSON.stringify(says)}, beside.name);${last}\n`;
    await writeFile(`${this.file}.new`, text);
    await rename(`${this.file}.new`, this.file);
  }

  async run(environment: Readonly<Record<string, string>> = {}): Promise<string> {
    const starts = `require(${JSON.stringify(START)}).startCommand(${JSON.stringify(this.file)})`;
    const env = { PATH: process.env["PATH"], XDG_CACHE_HOME: this.cache, ...environment };
    const { stdout, stderr } = await run(process.execPath, ["-e", starts], { env });
    return stdout + stderr;
  }

  /** What is kept, by inode: what V8 took is not written again. */
  inodes(): ReadonlyMap<string, number> {
    const names = existsSync(this.kept) ? readdirSync(this.kept) : [];
    return new Map(names.map((name) => [name, statSync(join(this.kept, name)).ino]));
  }

  /** The path of what is kept of the program. */
  code(): string {
    const [name = ""] = [...this.inodes().keys()].filter((one) => one.startsWith("program-"));
    return join(this.kept, name);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#dir[Symbol.asyncDispose]();
  }
}

describe("a command beside which no code lies", () => {
  test("keeps what V8 makes of its files for its user alone, and takes it at the next start", async () => {
    await using command = await Command.make();
    expect(await command.run()).toBe("one beside\n");
    const first = command.inodes();
    expect([...first.keys()].map((name) => name.replace(/-.*/, ""))).toEqual(["beside", "program"]);
    expect(statSync(command.kept).mode & 0o777).toBe(0o700);
    expect(statSync(command.code()).mode & 0o777).toBe(0o600);
    expect(await command.run()).toBe("one beside\n");
    expect(command.inodes()).toEqual(first);
  });

  test("takes nothing of another program of the same length in the same place", async () => {
    await using command = await Command.make("one");
    await command.run();
    await command.write("two");
    expect(await command.run()).toBe("two beside\n");
  });

  test("runs, and keeps it anew, where what is kept is of no use", async () => {
    await using command = await Command.make();
    await command.run();
    const code = command.code();
    const good = readFileSync(code);
    await writeFile(code, "of another make");
    expect(await command.run()).toBe("one beside\n");
    expect(readFileSync(command.code()).length).toBe(good.length);
  });

  test("takes nothing that others may write", async () => {
    await using command = await Command.make();
    await command.run();
    const code = command.code();
    const { ino } = statSync(code);
    await chmod(code, 0o622);
    expect(await command.run()).toBe("one beside\n");
    expect(statSync(code).ino).not.toBe(ino);
    expect(statSync(code).mode & 0o777).toBe(0o600);
    await chmod(command.kept, 0o777);
    const before = command.inodes();
    await command.write("two");
    expect(await command.run()).toBe("two beside\n");
    expect(command.inodes()).toEqual(before);
  });

  test.skipIf(!IS_ROOT)("leaves another user's directories alone", async () => {
    await using command = await Command.make();
    await chown(command.cache, 12345, 12345);
    expect(await command.run()).toBe("one beside\n");
    expect(existsSync(command.kept)).toBe(false);
    await mkdir(command.kept, { mode: 0o700 });
    await chown(command.kept, 12345, 12345);
    expect(await command.run()).toBe("one beside\n");
    expect(command.inodes().size).toBe(0);
  });

  test("keeps no more than a few of one name, nor what a killed one left", async () => {
    await using command = await Command.make();
    for (const says of ["1", "2", "3", "4", "5"]) {
      await command.write(says);
      expect(await command.run()).toBe(`${says} beside\n`);
    }
    const programs = [...command.inodes().keys()].filter((name) => name.startsWith("program-"));
    expect(programs.length).toBe(4);
    expect(programs).toContain(basename(command.code()));
  });

  test.each([
    ["there is no home", { XDG_CACHE_HOME: "" }],
    ["the cache directory is no directory", { XDG_CACHE_HOME: "/dev/null" }],
    ["the cache directory is a relative path", { XDG_CACHE_HOME: "cache" }],
    ["Node is told to keep nothing", { NODE_DISABLE_COMPILE_CACHE: "1" }],
  ])("runs and keeps nothing where %s", async (_, environment) => {
    await using command = await Command.make();
    expect(await command.run(environment)).toBe("one beside\n");
    expect(command.inodes().size).toBe(0);
  });

  test("keeps nothing of a run that fails", async () => {
    await using command = await Command.make();
    await command.write("one", " process.exitCode = 3;");
    expect(await command.run()).toBe("one beside\n");
    expect(command.inodes().size).toBe(0);
  });

  test("keeps nothing where code came along", async () => {
    await using command = await Command.make();
    await writeFile(`${command.file}.code`, "of another make");
    expect(await command.run()).toBe("one beside\n");
    expect(command.inodes().size).toBe(0);
  });
});

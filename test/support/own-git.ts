/** A git as the executor image has it: this machine's, with our transport, and nothing else of the machine. */
import { chmod, mkdir, readFile, symlink, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { CHECKOUT } from "./tools-cli.js";
import { mustRun } from "./tools.js";

/** Lays it out in a new directory. */
export async function ownGit(directory: string): Promise<string> {
  await mkdir(directory, { recursive: true });
  const git = join((await mustRun("git", ["--exec-path"])).trim(), "git");
  await symlink(git, join(directory, "git"));
  const script = await readFile(join(CHECKOUT, "deploy/executor/git-core/git-submodule"), "utf8");
  await program(join(directory, "git-submodule"), script.replace(/^.*\n/, "#!/bin/sh\n"));
  const transport = join(CHECKOUT, "dist/git-remote.cjs");
  for (const name of ["git-remote-http", "git-remote-https"]) {
    const line = `exec '${process.execPath}' '${transport}' "$@"`;
    await program(join(directory, name), `#!/bin/sh\n${line}\n`);
  }
  return directory;
}

async function program(path: string, text: string): Promise<void> {
  await writeFile(path, text);
  await chmod(path, 0o755);
}

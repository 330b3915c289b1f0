import { execFile } from "node:child_process";
import { accessSync, constants } from "node:fs";
import { dirname } from "node:path/posix";
import { messageOf } from "../../errors.js";
import { entryPath } from "../../internal/entry.js";

/** Starting Node below proot takes a tenth of a second; a machine that swaps takes seconds. */
const PROBE_TIMEOUT_MS = 20_000;

/** A proot that runs programs here. */
export interface ProotProgram {
  readonly path: string;
  /** What it needs in its environment, and hands on to what it runs. */
  readonly env: Readonly<Record<string, string>>;
}

export interface ProotSearch {
  /** Directories, as in the environment variable. */
  readonly path: string;
  /** Where it may put files while it runs. */
  readonly scratch: string;
}

/** Finds proot beside our own program or in `path`, and tries it out. Gives what is in the way, otherwise. */
export async function findProot({
  path,
  scratch,
}: ProotSearch): Promise<ProotProgram | { readonly because: string }> {
  const candidates = [...besideUs(), ...path.split(":")].map((directory) => `${directory}/proot`);
  const found = candidates.find(isExecutable);
  if (found === undefined) return { because: "there is no program proot" };
  // Its acceleration by seccomp fails with some kernels (proot-me/proot#336), and would hide from it what the step's own
  // filter hands on to us.
  const program = { path: found, env: { PROOT_TMP_DIR: scratch, PROOT_NO_SECCOMP: "1" } };
  try {
    await tryOut(program);
    return program;
  } catch (error) {
    return { because: `${found} runs nothing here: ${firstLine(messageOf(error))}` };
  }
}

/** The executor image has it in the directory of its Node, or of the files that it runs. */
function besideUs(): readonly string[] {
  const files = dirname(entryPath("child.cjs"));
  return [dirname(process.execPath), dirname(files), files];
}

/** A program that threads, reads files and ends well: our own, since an image of the builder alone holds no other. */
function tryOut({ path, env }: ProotProgram): Promise<void> {
  const args = ["-0", "-r", "/", process.execPath, "--version"];
  return new Promise((resolve, reject) => {
    execFile(
      path,
      args,
      { env, timeout: PROBE_TIMEOUT_MS, killSignal: "SIGKILL" },
      (error, out) => {
        if (error !== null) reject(error);
        else if (out.trim() === process.version) resolve();
        else reject(new Error(`it says ${JSON.stringify(out.slice(0, 80))}`));
      },
    );
  });
}

function firstLine(text: string): string {
  return text.split("\n").slice(0, 2).join(" ");
}

function isExecutable(path: string): boolean {
  try {
    accessSync(path, constants.X_OK);
    return true;
  } catch {
    return false;
  }
}

import { fileURLToPath } from "node:url";

/**
 * The file of a process or thread that is started by its path, in `dist`. The caller may be a bundled chunk in `dist`
 * or, under the tests, a source file in `src`.
 */
export function entryPath(
  name:
    | "child.cjs"
    | "internal/hash-thread.cjs"
    | "worker/root-thread.cjs"
    | "worker/sandbox/init.cjs"
    | "worker/sandbox/owner-thread.cjs"
    | "worker/sandbox/proot-init.cjs",
): string {
  return `${top()}/dist/${name}`;
}

/** The command line, behind Node's own, of a process that starts one of these files (bin/start.cjs). */
export function entryCommand(name: Parameters<typeof entryPath>[0]): readonly string[] {
  return [`${top()}/bin/start.cjs`, entryPath(name)];
}

function top(): string {
  const here = fileURLToPath(import.meta.url);
  return here.slice(0, Math.max(here.lastIndexOf("/dist/"), here.lastIndexOf("/src/")));
}

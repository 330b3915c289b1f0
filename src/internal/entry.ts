import { fileURLToPath } from "node:url";

/**
 * The file of a process or thread that is started by its path, in `dist`. The caller may be a bundled chunk in `dist`
 * or, under the tests, a source file in `src`.
 */
export function entryPath(
  name:
    | "child.cjs"
    | "worker/root-thread.cjs"
    | "worker/sandbox/init.cjs"
    | "worker/sandbox/owner-thread.cjs"
    | "worker/sandbox/proot-init.cjs",
): string {
  const here = fileURLToPath(import.meta.url);
  const root = Math.max(here.lastIndexOf("/dist/"), here.lastIndexOf("/src/"));
  return `${here.slice(0, root)}/dist/${name}`;
}

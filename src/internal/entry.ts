import { fileURLToPath } from "node:url";

/**
 * The file of a process or thread that is started by its path, in `dist`. The caller may be a bundled chunk in `dist`
 * or, under the tests, a source file in `src`.
 */
export function entryPath(
  name:
    | "child.js"
    | "worker/root-thread.js"
    | "worker/sandbox/init.js"
    | "worker/sandbox/owner-thread.js"
    | "worker/sandbox/proot-init.js",
): string {
  const here = fileURLToPath(import.meta.url);
  const root = Math.max(here.lastIndexOf("/dist/"), here.lastIndexOf("/src/"));
  return `${here.slice(0, root)}/dist/${name}`;
}

import { statSync } from "node:fs";
import { TsbuildError } from "../../errors.js";
import { DEFAULT_PATH, isExecutable, NOT_EXECUTABLE, NOT_FOUND } from "./program.js";
import { hostPath, type PathSpace } from "./step-paths.js";
import type { SandboxSpec } from "./types.js";

/** The step's program as an absolute path inside its root. @throws TsbuildError RUN_FAILED, with 127 and 126 as a shell has them */
export function findInStep(spec: SandboxSpec, space: PathSpace): string {
  const [name] = spec.argv;
  const look = (path: string): "absent" | "no program" | "program" => {
    const at = hostPath(path, space);
    if (at === undefined || statSync(at, { throwIfNoEntry: false }) === undefined) return "absent";
    return isExecutable(at) ? "program" : "no program";
  };
  const absolute = (path: string): string => (path.startsWith("/") ? path : `${spec.cwd}/${path}`);
  if (name.includes("/")) {
    const found = look(absolute(name));
    if (found === "program") return absolute(name);
    if (found === "absent") throw failed(name, NOT_FOUND, "no such file or directory (ENOENT)");
    throw failed(name, NOT_EXECUTABLE, "permission denied (EACCES)");
  }
  const directories = (spec.env["PATH"] ?? DEFAULT_PATH).split(":");
  const candidates = directories.map((directory) => absolute(`${directory || "."}/${name}`));
  const found = candidates.find((path) => look(path) === "program");
  if (found !== undefined) return found;
  throw failed(name, NOT_FOUND, "executable file not found in $PATH");
}

function failed(name: string, exitCode: number, because: string): TsbuildError {
  const message = `tried to run ${name}: exec: "${name}": ${because}`;
  return new TsbuildError("RUN_FAILED", message, { exitCode });
}

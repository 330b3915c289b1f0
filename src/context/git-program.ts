import { existsSync } from "node:fs";
import { dirname, join } from "node:path";

/**
 * The directory of the git that was laid beside Node, as in the executor image: `git`, all that it starts, and nothing else.
 * It is not the one of an image that is being built, or in whose midst we run.
 */
export function gitBeside(node: string = process.execPath): string | undefined {
  const directory = join(dirname(dirname(node)), "git-core");
  return existsSync(join(directory, "git")) ? directory : undefined;
}

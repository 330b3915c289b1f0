import { open } from "node:fs/promises";
import { TsbuildError, messageOf } from "../errors.js";
import type { SecretSource } from "../solver/types.js";
import type { BuildOptions } from "./options.js";

/** Bytes; BuildKit's bound. */
const MAX_SECRET = 500 * 1024;

/**
 * Reads secrets when a step asks for them, from files and variables that the options name.
 * @throws TsbuildError USAGE at once for a variable that is not set
 */
export function secretSource({ secrets = {}, environment = {} }: BuildOptions): SecretSource {
  for (const [id, from] of Object.entries(secrets)) {
    if (!("env" in from) || environment[from.env] !== undefined) continue;
    throw new TsbuildError("USAGE", `secret ${id}: the environment has no variable ${from.env}`, {
      hint: "set it, or give the secret by a file with src=",
    });
  }
  return async (id) => {
    const from = secrets[id];
    if (from === undefined) return undefined;
    if ("env" in from) return new TextEncoder().encode(environment[from.env]);
    return readSecret(id, from.file);
  };
}

async function readSecret(id: string, path: string): Promise<Uint8Array> {
  try {
    await using file = await open(path);
    const { size } = await file.stat();
    if (size > MAX_SECRET) throw new Error(`it has ${size} bytes, at most ${MAX_SECRET} are taken`);
    return await file.readFile();
  } catch (error) {
    const why = messageOf(error);
    throw new TsbuildError(
      "CONTEXT_UNREADABLE",
      `tried to read secret ${id} from ${path}: ${why}`,
      {
        cause: error,
      },
    );
  }
}

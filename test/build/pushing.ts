import { mkdir, writeFile } from "node:fs/promises";
import { createServer, type ServerResponse } from "node:http";
import { join } from "node:path";
import { onTestFinished } from "vitest";
import { build, type BuildOptions, type BuildResult } from "../../src/index.js";
import {
  startMemoryRegistry,
  type MemoryRegistry,
  type MemoryRegistryOptions,
} from "../support/memory-registry.js";
import { tempDir } from "../support/tools.js";

/** Builds in a directory of the test's own; the image is the same each time. */
export interface Workshop {
  readonly store: string;
  readonly build: (
    dockerfile: string,
    options: Omit<Partial<BuildOptions>, "context" | "dockerfile">,
  ) => Promise<BuildResult>;
}

/** With the files `a` and `b` in its context. */
export async function workshop(): Promise<Workshop> {
  const dir = await tempDir();
  onTestFinished(() => dir[Symbol.asyncDispose]());
  const context = join(dir.path, "context");
  await mkdir(context);
  for (const name of ["a", "b"]) await writeFile(join(context, name), name);
  const store = join(dir.path, "store");
  const buildArgs = { SOURCE_DATE_EPOCH: "1700000000" };
  let times = 0;
  return {
    store,
    build: async (text, options) => {
      const dockerfile = join(dir.path, `Dockerfile.${times++}`);
      await writeFile(dockerfile, text);
      return build({ context, store, buildArgs, ...options, dockerfile });
    },
  };
}

export async function memoryRegistry(options: MemoryRegistryOptions = {}): Promise<MemoryRegistry> {
  const registry = await startMemoryRegistry(options);
  onTestFinished(() => registry[Symbol.asyncDispose]());
  return registry;
}

/** Something that a build waits for: the file that an ADD names. */
export interface Gate {
  readonly url: string;
  /** Resolves when the build has come here. */
  readonly reached: Promise<void>;
  /** 200 lets the build go on; anything else fails it. */
  open(status: number): void;
}

export async function gate(): Promise<Gate> {
  const waiting: ServerResponse[] = [];
  let status: number | undefined;
  const answer = (response: ServerResponse): void => {
    if (status === undefined) waiting.push(response);
    else response.writeHead(status).end("from the gate");
  };
  let arrive = (): void => undefined;
  const reached = new Promise<void>((resolve) => (arrive = resolve));
  const server = createServer((_, response) => {
    arrive();
    answer(response);
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  onTestFinished(() => {
    server.closeAllConnections();
    server.close();
  });
  const address = server.address();
  const port = typeof address === "object" && address !== null ? address.port : 0;
  return {
    url: `http://127.0.0.1:${port}/gate`,
    reached,
    open(given) {
      status = given;
      for (const response of waiting.splice(0)) answer(response);
    },
  };
}

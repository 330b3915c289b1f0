import { cp, mkdir, rm, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { onTestFinished } from "vitest";
import { start, type BuildOptions, type BuildResult } from "../../src/index.js";
import { tempDir } from "../support/tools.js";

/** What a build said of itself. */
export interface Observed {
  readonly result: BuildResult;
  /** Texts of the steps that an earlier build had made. */
  readonly cached: readonly string[];
  /** Texts of the steps that were made. */
  readonly made: readonly string[];
  readonly notices: readonly string[];
  /** Why each step was made, by its text. */
  readonly why: ReadonlyMap<string, readonly string[]>;
  /** Bytes of blobs that were pulled. */
  readonly pulled: number;
}

type Options = Omit<Partial<BuildOptions>, "context" | "dockerfile" | "store">;

/** Builds of one context on machines that share nothing but what they are told of. */
export interface Machines {
  /** The context's directory. */
  readonly context: string;
  readonly path: string;
  /** Builds on the machine of that name, whose store stays from build to build. */
  readonly build: (machine: string, dockerfile: string, options: Options) => Promise<Observed>;
  /** The same files, with other times and inodes. */
  readonly copyContext: () => Promise<void>;
}

/** With the files `a` and `b` in the context. */
export async function machines(): Promise<Machines> {
  const dir = await tempDir();
  onTestFinished(() => dir[Symbol.asyncDispose]());
  const context = join(dir.path, "context");
  await mkdir(context);
  for (const name of ["a", "b"]) await writeFile(join(context, name), name);
  let times = 0;
  return {
    context,
    path: dir.path,
    async build(machine, text, options) {
      const dockerfile = join(dir.path, `Dockerfile.${times++}`);
      await writeFile(dockerfile, text);
      return observe({
        context,
        store: join(dir.path, `store-${machine}`),
        push: (options.destinations ?? []).length > 0,
        ...options,
        dockerfile,
      });
    },
    async copyContext() {
      const copy = join(dir.path, `context-${times++}`);
      await cp(context, copy, { recursive: true });
      await rm(context, { recursive: true });
      await cp(copy, context, { recursive: true });
    },
  };
}

/** Runs a build to its end. A failure is thrown with what it said before, as its `notices`. */
async function observe(options: BuildOptions): Promise<Observed> {
  const texts = new Map<string, string>();
  const cached: string[] = [];
  const made: string[] = [];
  const notices: string[] = [];
  const why = new Map<string, readonly string[]>();
  const pulled = new Map<string, number>();
  await using running = start(options);
  for await (const event of running.events) {
    if (event.type === "step-start") texts.set(event.step, event.text);
    else if (event.type === "step-cached") cached.push(texts.get(event.step) ?? "");
    else if (event.type === "step-missed") why.set(texts.get(event.step) ?? "", event.because);
    else if (event.type === "step-done" && event.layer !== undefined) {
      made.push(texts.get(event.step) ?? "");
    } else if (event.type === "notice") notices.push(event.message);
    else if (event.type === "transfer" && event.direction === "pull") {
      pulled.set(event.id, event.bytes);
    }
  }
  const sum = [...pulled.values()].reduce((total, bytes) => total + bytes, 0);
  return { result: await running.result, cached, made, notices, why, pulled: sum };
}

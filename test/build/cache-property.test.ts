/** The cache is never wrong: what it gives is what the steps would have made. More with TSBUILD_CACHE_RUNS=500. */
import fc from "fast-check";
import { mkdir } from "node:fs/promises";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { expect, test } from "vitest";
import { start, TsbuildError, type BuildOptions } from "../../src/index.js";
import { busyboxBase } from "../support/bases.js";
import { lacksBuild } from "../support/tools-cli.js";
import { describeUnless } from "../support/tools-suite.js";
import { lacksTools, tempDir } from "../support/tools.js";
import { applyChange, cases, changes, dockerfileOf, undo, writeCase } from "./cache-cases.js";

const RUNS = Number(process.env["TSBUILD_CACHE_RUNS"] ?? 8);

interface Outcome {
  readonly digest: string;
  readonly made: readonly string[];
}

async function build(options: BuildOptions): Promise<Outcome> {
  await using running = start(options);
  const texts = new Map<string, string>();
  const made: string[] = [];
  for await (const event of running.events) {
    if (event.type === "step-start") texts.set(event.step, event.text);
    if (event.type === "step-done" && event.layer !== undefined) {
      made.push(texts.get(event.step) ?? event.step);
    }
  }
  const outcome = await running.result.then(
    ({ image }) => image.digest,
    // Of two stages that fail, either may be the first.
    (error: unknown) => (error instanceof TsbuildError ? `failed: ${error.code}` : String(error)),
  );
  return { digest: outcome, made };
}

describeUnless([lacksTools("busybox", "skopeo"), lacksBuild()], "the cache", () => {
  test(
    "gives what the steps would make, and all of it when no step can see the change",
    { timeout: RUNS * 60_000 },
    async () => {
      await using dir = await tempDir();
      const base = await busyboxBase();
      let number = 0;
      let hits = 0;
      await fc.assert(
        fc.asyncProperty(cases, changes, fc.boolean(), async (first, change, goesBack) => {
          const context = join(dir.path, `${(number += 1)}`);
          await mkdir(context);
          const options = (
            store: string,
            args: Readonly<Record<string, string>>,
          ): BuildOptions => ({
            context,
            push: false,
            reproducible: true,
            compression: "gzip",
            ociLayoutPath: join(dir.path, "layout"),
            buildArgs: args,
            buildContexts: { base: `oci-layout://${base}` },
            secrets: { s: { file: join(context, ".secret") } },
            store: join(dir.path, store),
          });
          await writeCase(context, first);
          // What changed a moment before a build may be looked at again in the next one.
          await sleep(150);
          const before = await build(options("cached", first.args));
          const { what, isSeen, to, ...how } = change(first);
          await applyChange(context, first, { what, isSeen, to, ...how });
          const cached = await build(options("cached", to.args));
          const anew = await build({ ...options("reference", to.args), cache: false });
          const told = `${what}:\n${dockerfileOf(to)}`;
          expect(cached.digest, told).toBe(anew.digest);
          if (isSeen === "no" && before.digest.startsWith("sha256:")) {
            expect(cached.made, told).toEqual([]);
          }
          if (cached.made.length < anew.made.length) hits += 1;
          if (!goesBack || !before.digest.startsWith("sha256:")) return;
          await applyChange(context, to, undo(first, how.modes));
          const back = await build(options("cached", first.args));
          expect(back, `back from ${told}`).toEqual({ digest: before.digest, made: [] });
        }),
        { numRuns: RUNS, endOnFailure: true },
      );
      expect(hits).toBeGreaterThan(0);
    },
  );
});

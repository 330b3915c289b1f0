import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { readCases, type Case } from "../conformance/cases.js";
import { executorBuilder } from "../conformance/executor-builder.js";
import { NEVER_IN_PLACE } from "../conformance/in-place-builder.js";
import { runCase } from "../conformance/run-case.js";
import type { CaseBuilder } from "../conformance/ways.js";
import { busyboxBase, debianBase, pushBase } from "../support/bases.js";
import type { ContextName } from "../support/pod-contexts.js";
import { lacksPods } from "../support/pods-root.js";
import { startRegistry, type RegistryService } from "../support/services.js";
import { CHECKOUT, lacksBuild } from "../support/tools-cli.js";
import { lacksTools } from "../support/tools.js";
import { describeUnless } from "../support/tools-suite.js";

/** In a Pod with default settings and in one that allows no namespaces, with what each cannot give. */
const PODS: readonly {
  readonly context: ContextName;
  /** Which tenth of the cases a normal test run builds: those whose number ends in this digit. */
  readonly tenth: number;
  readonly except: Readonly<Record<string, string>>;
}[] = [
  { context: "default", tenth: 5, except: {} },
  { context: "runtime-default", tenth: 9, except: NEVER_IN_PLACE },
];

/** Built in both whatever their number: what a Pod has and a machine has not is at work there. */
const ALWAYS = ["add-git-ref-subdir", "network-none"];
/** `npm run test:full` builds every case in both. */
const IS_FULL = process.env["TSBUILD_TEST_FULL"] === "1";
const SETUP_MS = 600_000;
const TEST_TIMEOUT_MS = 360_000;
const TOOLS = ["docker-registry", "skopeo", "mmdebstrap", "busybox", "git", "npm"];
const cases = readCases(CHECKOUT);

describeUnless(
  [lacksPods(), lacksTools(...TOOLS), lacksBuild()],
  "the conformance cases with the executor image in a Pod",
  () => {
    let registry: RegistryService;

    beforeAll(async () => {
      process.umask(0o022); // contexts have the modes that their authors meant
      registry = await startRegistry();
      await pushBase(await busyboxBase(), registry, "library/busybox:latest");
      await pushBase(await debianBase(), registry, "library/debian:bookworm-slim");
    }, SETUP_MS);
    afterAll(() => registry[Symbol.asyncDispose]());

    describe.each(PODS)("$context", ({ context, tenth, except }) => {
      let builder: CaseBuilder;
      beforeAll(async () => {
        builder = await executorBuilder(CHECKOUT, registry.host, context);
      }, SETUP_MS);
      afterAll(() => builder[Symbol.asyncDispose]());

      const isChosen = ({ id }: Case, index: number): boolean =>
        IS_FULL || ALWAYS.includes(id) || index % 10 === tenth;
      for (const one of cases.filter(isChosen)) {
        const why = except[one.id];
        const name = `${one.feature}: ${one.id}${why === undefined ? "" : ` cannot be had: ${why}`}`;
        test.concurrent(name, { timeout: TEST_TIMEOUT_MS }, async () => {
          const { wrong, log } = await runCase(one, builder);
          const seen = `${one.source}\n${one.dockerfile}\n${log.slice(-4_000)}`;
          if (why === undefined) expect(wrong, seen).toEqual([]);
          else expect(wrong, seen).not.toEqual([]);
        });
      }
    });
  },
);

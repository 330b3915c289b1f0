import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { busyboxBase, debianBase, pushBase } from "../support/bases.js";
import { startRegistry, type RegistryService } from "../support/services.js";
import { CHECKOUT, lacksBuild } from "../support/tools-cli.js";
import { lacksRoot, lacksTools } from "../support/tools.js";
import { describeUnless } from "../support/tools-suite.js";
import { lacksUsers, userWithoutSubIds, userWithSubIds, type TestUser } from "../support/users.js";
import { readCases, type Case } from "./cases.js";
import { runCase } from "./run-case.js";
import {
  caseBuilder,
  lacksWay,
  NEEDS_ROOT,
  NOT_WITH,
  WAYS,
  type CaseBuilder,
  type Way,
} from "./ways.js";

/** `npm run test:full` builds every case in every way. */
const IS_FULL = process.env["TSBUILD_TEST_FULL"] === "1";
const TEST_TIMEOUT_MS = 360_000;
const cases = readCases(CHECKOUT);
const lacks = [
  lacksTools("docker-registry", "skopeo", "mmdebstrap", "busybox", "git", "unshare"),
  lacksBuild(),
];

const ways = await Promise.all(WAYS.map(async (way) => ({ way, ...(await possible(way)) })));

describeUnless(lacks, "the conformance cases", () => {
  let registry: RegistryService;

  beforeAll(async () => {
    process.umask(0o022); // contexts have the modes that their authors meant
    registry = await startRegistry();
    await pushBase(await busyboxBase(), registry, "library/busybox:latest");
    await pushBase(await debianBase(), registry, "library/debian:bookworm-slim");
  }, 600_000);
  afterAll(async () => {
    await registry[Symbol.asyncDispose]();
  });

  for (const { way, user, reason } of ways) {
    describeUnless([reason], way.name, () => {
      let builder: CaseBuilder;
      beforeAll(async () => {
        builder = await caseBuilder(CHECKOUT, registry.host, way.driver, user);
      });
      afterAll(async () => {
        await builder[Symbol.asyncDispose]();
      });

      for (const one of cases.filter((c, index) => isChosen(way, c, index))) {
        const lacking = NOT_WITH[way.driver]?.[one.id];
        if (lacking !== undefined) {
          const name = `${one.feature}: ${one.id} cannot be had: ${lacking}`;
          test.concurrent(name, { timeout: TEST_TIMEOUT_MS }, async () => {
            const { wrong, log } = await runCase(one, builder);
            expect(wrong, log).not.toEqual([]);
          });
          continue;
        }
        const refusal = way.as === "user" ? NEEDS_ROOT[one.id] : undefined;
        if (refusal === undefined) {
          test.concurrent(`${one.feature}: ${one.id}`, { timeout: TEST_TIMEOUT_MS }, async () => {
            const { wrong, log } = await runCase(one, builder);
            expect(wrong, `${one.source}\n${one.dockerfile}\n${log.slice(-4_000)}`).toEqual([]);
          });
        } else {
          const name = `${one.feature}: ${one.id} needs root and says so: ${refusal.because}`;
          test.concurrent(name, { timeout: TEST_TIMEOUT_MS }, async () => {
            const { outcome, log } = await runCase(one, builder);
            expect(outcome.code, log).toBeGreaterThanOrEqual(64);
            expect(log).toMatch(refusal.says);
          });
        }
      }
    });
  }
});

describe("the list of cases", () => {
  test("has every id once", () => {
    expect(new Set(cases.map((one) => one.id)).size).toBe(cases.length);
  });

  test("has every case that is named as one for root alone", () => {
    const ids = cases.map((one) => one.id);
    expect(ids).toEqual(expect.arrayContaining(Object.keys(NEEDS_ROOT)));
    const lacking = Object.values(NOT_WITH).flatMap((one) => Object.keys(one));
    expect(ids).toEqual(expect.arrayContaining(lacking));
  });

  test("never expects a failure without saying how it reads", () => {
    const silent = cases.filter((one) => !one.expectSuccess && one.errorRegex === undefined);
    expect(silent.map((one) => one.id)).toEqual([]);
  });
});

/** Whom the builds run as (whoever runs the tests when absent), or the reason why that cannot be here. */
async function possible(way: Way): Promise<{ user?: TestUser; reason?: string | undefined }> {
  if (lacks.some((reason) => reason !== undefined)) return {};
  const noRoot = lacksRoot();
  if (way.as === "root" && noRoot !== undefined) return { reason: noRoot };
  if (way.as === "root" || noRoot !== undefined) {
    return { reason: await lacksWay(way.driver, undefined) }; // an ordinary user's tests build as themselves
  }
  const reason = lacksUsers();
  if (reason !== undefined) return { reason };
  const user = await (way.driver === "proot" ? userWithoutSubIds() : userWithSubIds());
  return { user, reason: await lacksWay(way.driver, user) };
}

function isChosen(way: Way, one: Case, index: number): boolean {
  if (IS_FULL || way.tenth === undefined) return true;
  return index % 10 === way.tenth || (way.as === "user" && one.id in NEEDS_ROOT);
}

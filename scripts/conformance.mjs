// Builds conformance cases of the Dockerfile language by hand; `test/conformance` builds them all in the tests.
//
//   npm run conformance -- [--filter REGEX] [--tier NAME] [--user NAME] [--driver NAME] [--jobs N] [--verbose] [--keep]
//                          [--list] [--out FILE] [--pod NAME]
//
// --filter matches ids and features. --user builds as that ordinary user, which only root may ask (tsbuild-test and
// tsbuild-test-nosub are made when missing); --driver goes to tsbuild. --verbose prints each case's Dockerfile and
// log, failing ones always do; --pod builds with the executor image in a Pod of that context (see scripts/pod.mjs),
// default and runtime-default above all; --keep leaves contexts and images behind; --out writes the results as JSON.
import { writeFileSync } from "node:fs";
import { availableParallelism } from "node:os";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { parseArgs } from "node:util";
import { loadTypeScript } from "./load-ts.mjs";

const top = dirname(dirname(fileURLToPath(import.meta.url)));
const suite = await loadTypeScript(join(top, "test/conformance/for-scripts.ts"));
const options = parse();
const cases = suite.readCases(top).filter(isWanted);
if (options.list) {
  for (const { id, tier, feature } of cases) console.log(`${id}\t${tier}\t${feature}`);
} else {
  process.exitCode = await main();
}

function parse() {
  const text = { type: /** @type {const} */ ("string") };
  const flag = { type: /** @type {const} */ ("boolean"), default: false };
  try {
    return parseArgs({
      options: {
        filter: text,
        tier: text,
        user: text,
        jobs: text,
        out: text,
        pod: text,
        driver: { ...text, default: "auto" },
        verbose: flag,
        keep: flag,
        list: flag,
      },
    }).values;
  } catch (error) {
    console.error(error.message);
    process.exit(64);
  }
}

function isWanted({ id, feature, tier }) {
  const filter = new RegExp(options.filter ?? "");
  return (filter.test(id) || filter.test(feature)) && (options.tier ?? tier) === tier;
}

async function main() {
  const missing = suite.lacksTools("docker-registry", "skopeo", "mmdebstrap", "busybox", "git");
  if (missing === undefined && options.pod !== undefined && !suite.isContextName(options.pod)) {
    console.error(`no Pod's context is called ${options.pod}`);
    return 64;
  }
  if (missing !== undefined || cases.length === 0) {
    console.error(missing ?? "no case matches");
    return missing === undefined ? 64 : 69;
  }
  process.umask(0o022);
  const user = await findUser();
  const registry = await suite.startRegistry();
  let builder;
  try {
    await suite.pushBase(await suite.busyboxBase(), registry, "library/busybox:latest");
    const slim = "library/debian:bookworm-slim";
    await suite.pushBase(await suite.debianBase(), registry, slim);
    builder =
      options.pod === undefined
        ? await suite.caseBuilder(top, registry.host, options.driver, user)
        : await suite.executorBuilder(top, registry.host, options.pod);
    return report(await runAll(builder));
  } finally {
    if (!options.keep) await builder?.[Symbol.asyncDispose]();
    await registry[Symbol.asyncDispose]();
  }
}

async function findUser() {
  if (options.user === undefined) return undefined;
  const makers = {
    "tsbuild-test": suite.userWithSubIds,
    "tsbuild-test-nosub": suite.userWithoutSubIds,
  };
  const user = (await makers[options.user]?.()) ?? (await suite.findUser(options.user));
  if (user === undefined) throw new Error(`no user ${options.user}`);
  return user;
}

async function runAll(builder) {
  const results = [];
  const queue = [...cases];
  const work = async () => {
    for (let one = queue.shift(); one !== undefined; one = queue.shift()) {
      const { id, feature, tier } = one;
      const ended = await suite.runCase(one, builder, { keep: options.keep }).catch((error) => ({
        wrong: [`the runner: ${error.stack}`],
        log: "",
      }));
      const result = ended.wrong.length === 0 ? "pass" : "FAIL";
      if (options.verbose || result === "FAIL") show(result, one, ended);
      results.push({ id, feature, tier, result, wrong: ended.wrong, seconds: ended.seconds });
    }
  };
  const jobs = Number(options.jobs ?? availableParallelism());
  await Promise.all(Array.from({ length: jobs }, work));
  return results;
}

function show(result, one, { wrong, log, dir }) {
  console.log(`${result} ${one.id} [${one.feature}]`);
  const because = options.user === undefined ? undefined : suite.NEEDS_ROOT[one.id]?.because;
  if (because !== undefined) console.log(`  needs root: ${because}`);
  const lacking = suite.NOT_WITH[options.driver]?.[one.id];
  if (lacking !== undefined) console.log(`  cannot be had: ${lacking}`);
  for (const sentence of wrong) console.log(`  ${sentence}`);
  console.log(`${indent(one.dockerfile ?? "")}\n${indent(log.slice(-4_000))}`);
  if (options.keep) console.log(`  kept in ${dir}`);
}

function indent(text) {
  return text.trimEnd().replace(/^/gm, "  | ");
}

function report(results) {
  const passed = results.filter(({ result }) => result === "pass").length;
  console.log(`${passed} of ${results.length} cases pass`);
  if (options.out !== undefined) writeFileSync(options.out, JSON.stringify(results, undefined, 1));
  return passed === results.length ? 0 : 1;
}

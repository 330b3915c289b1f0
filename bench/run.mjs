// Measures tsbuild beside every peer that this machine has, interleaved; see bench/README.md and docs/performance.md.
//
//   npm run build && npm run bench -- [--workloads W1,W6] [--rounds 3] …      (--help lists the options)
//
// Wants root, python3, skopeo, mmdebstrap and Debian's docker-registry.
import { chownSync, existsSync, mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { chart } from "./chart.mjs";
import { expectation, inspect, ownBytes, verify } from "./images.mjs";
import * as lab from "./lab.mjs";
import { describeMachine } from "./machine.mjs";
import { parseOptions, USAGE } from "./options.mjs";
import { sequence, sourcesOf } from "./plan.mjs";
import { markdownTables, plainTables } from "./report.mjs";
import { findTools, label, tail } from "./tools.mjs";
import { changeOneSource } from "./workloads/generate.mjs";

const { support } = lab;
process.exitCode = await main(parseOptions(process.argv.slice(2)));

async function main(options) {
  if (options.help) {
    process.stdout.write(USAGE);
    return 0;
  }
  const earlier =
    (options.append || options.report) && existsSync(options.json)
      ? JSON.parse(readFileSync(options.json, "utf8"))
      : undefined;
  const { machine, runs } = options.report ? earlier : await measureAll(options, earlier?.runs);
  console.log(plainTables(runs));
  const result = { machine, runs };
  if (options.json !== undefined && !options.report) {
    writeFileSync(options.json, `${JSON.stringify(result, null, 1)}\n`);
  }
  if (options.markdown !== undefined) writeFileSync(options.markdown, markdownTables(runs));
  if (options.svg !== undefined) writeFileSync(options.svg, chart(runs, machine));
  const bad = runs.filter((run) => run.code !== 0 || run.wrong !== undefined);
  for (const run of bad) {
    console.error(`${run.workload} ${run.temperature} ${run.tool}: ${run.wrong ?? "failed"}`);
  }
  return bad.length === 0 ? 0 : 1;
}

/** Answers all runs, those in `earlier` first. */
async function measureAll(options, earlier = []) {
  const runs = [...earlier];
  // Rounds go on where the earlier ones ended: what was not interleaved is not compared.
  const first = 1 + Math.max(-1, ...earlier.map((run) => run.round));
  const user = options.ways.includes("user") ? await support.userWithSubIds() : undefined;
  const app = await lab.application(options.tsbuild ?? lab.top, user);
  const work = lab.workDirectory();
  const services = await lab.startServices();
  try {
    const { tools, skipped } = await findTools(support, { ...options, app, user });
    for (const tool of tools) console.log(`${label(tool)} (${tool.group}): ${tool.version}`);
    for (const line of skipped) console.log(`without ${line}`);
    const sources = sourcesOf(options.workloads);
    const files = await lab.prepare(sources, { ...services, ...options, work: work.path });
    const end = Date.now() + options.minutes * 60_000;
    const filled = new Set();
    for (let round = first; round < first + options.rounds; round++) {
      for (const source of sources) {
        // Another order each round: what one run leaves in the page cache favours no tool.
        for (const tool of tools.map((_, i) => tools[(i + round) % tools.length])) {
          if (Date.now() > end) continue;
          const lane = { options, services, work: work.path, user, filled, first };
          runs.push(...(await runSequence(source, files[source], tool, round, lane)));
        }
      }
    }
    return { machine: describeMachine(tools), runs };
  } finally {
    await services[Symbol.asyncDispose]();
    await work[Symbol.asyncDispose]();
    await app[Symbol.asyncDispose]();
  }
}

async function runSequence(source, files, tool, round, lane) {
  const { options, work, user, filled } = lane;
  const name = `${source}-${label(tool).replaceAll(" ", "-")}-${tool.group}`;
  const builds = sequence(source, tool, { ...options, filled: filled.has(name) });
  const context =
    source === "W7" ? lab.copyContext(files.context, join(work, "context")) : files.context;
  const state = join(work, "state");
  const runs = [];
  try {
    for (const [i, build] of builds.entries()) {
      if (build.fresh) await freshState(state, tool, user);
      if (build.change) changeOneSource(context, `${label(tool)} ${round}`);
      else if (source === "W7") restore(files.context, context);
      const repository = `bench/${name.toLowerCase()}-${round}-${i}`;
      const run = await buildOnce(build, { ...files, context, state, repository, name }, tool, {
        ...lane,
        round,
      });
      if (build.measured) runs.push(run);
      if (run.code !== 0) break;
      if (build.cacheRepo && !build.measured) filled.add(name);
    }
  } finally {
    await support.removeTree(state);
    if (source === "W7") await support.removeTree(context);
  }
  return runs;
}

async function freshState(state, tool, user) {
  await support.removeTree(state);
  mkdirSync(state, { recursive: true });
  if (tool.group === "user") chownSync(state, user.uid, user.gid);
}

function restore(from, context) {
  const name = "src/m42.js";
  const text = readFileSync(join(from, name), "utf8");
  if (readFileSync(join(context, name), "utf8") !== text) writeFileSync(join(context, name), text);
}

async function buildOnce(build, files, tool, { options, services, work, round, first }) {
  const { registry, tap, traffic } = services;
  const log = join(work, "log");
  const argv = tool.command({
    ...files,
    registry: tap.host,
    destination: `${tap.host}/${files.repository}:latest`,
    noCache: build.noCache === true,
    cacheRepo: build.cacheRepo ? `${tap.host}/cache/${files.name.toLowerCase()}` : undefined,
  });
  await support.run("sync", []);
  const before = await traffic();
  const result = await lab.measure(argv, log);
  const after = await traffic();
  const run = {
    workload: build.workload,
    temperature: build.temperature,
    tool: label(tool),
    peer: tool.peer,
    group: tool.group,
    round,
    ...result,
    ...Object.fromEntries(Object.keys(after).map((key) => [key, after[key] - before[key]])),
  };
  progress(build, run);
  if (run.code !== 0) {
    console.error(tail(log));
    return run;
  }
  return {
    ...run,
    ...(await judge(build, files, { options, registry, work, round, first, tool })),
  };
}

/** What the registry has of the image: the size of its own layers, and whether anything in it is wrong. */
async function judge(build, files, { options, registry, work, round, first, tool }) {
  const image = await inspect(registry.host, files.repository);
  const compressed = ownBytes(image, files.base);
  if (!options.verify) return { compressed };
  const expected = expectation(build.workload, {
    context: files.context,
    base: files.base,
    short: options.short,
    round: `${label(tool)} ${round}`,
  });
  const large = build.workload === "W4" && !options.short;
  // Reading every file of an image takes as long as a build: once for each tool is enough.
  const deep = round === first && (options.short || (!large && build.temperature !== "warm"));
  const where = { host: registry.host, repository: files.repository, dir: work, deep };
  try {
    await verify(image, expected, where);
    return { compressed };
  } catch (error) {
    return { compressed, wrong: error.message };
  }
}

function progress(build, { tool, round, code, wall, cpu }) {
  const what = build.measured ? "" : " (prepares)";
  const figures = `${wall.toFixed(2)} s wall, ${cpu.toFixed(2)} s CPU`;
  console.log(
    `round ${round}: ${build.workload} ${build.temperature} ${tool}${what}: ${code === 0 ? figures : `ended with ${code}`}`,
  );
}
